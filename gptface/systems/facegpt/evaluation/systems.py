"""Trained systems opened side by side, and the ways of each to make heads of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gptface.errors import InputError
from gptface.evaluation.device import pick_device
from gptface.evaluation.numbers import write_numbers
from gptface.morphable import FaceParameters, MorphableModel
from gptface.systems.facegpt.evaluation.methods import Reconstruct
from gptface.systems.facegpt.system import FaceGPTSystem

__all__ = ["OpenSystems", "Wanted", "open_systems", "write_summary"]

HELD_OUT_SEED = 7_000_001
"""Of drawn faces and sentences that are measured on: trainings count their seeds from 0."""


@dataclass(frozen=True)
class Wanted:
    """What every measurement is asked.

    Attributes:
        systems: folders that ``gptface train facegpt`` left.
        morphable: the morphable model, where it is no longer where it was in training.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        seed: of drawn faces and sentences; never that of a training.
        output: JSON file, or ``None``.
        sheet: PNG of pictures, or ``None``.
    """

    systems: Sequence[Path]
    morphable: str | None = None
    device: str = "auto"
    seed: int = HELD_OUT_SEED
    output: Path | None = None
    sheet: Path | None = None

    def __post_init__(self) -> None:
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise InputError(f"sheet: {self.sheet}; its name must end in .png")


@dataclass(frozen=True)
class OpenSystems:
    """Systems by name, all of one morphable model.

    Attributes:
        by_name: in the order asked for.
        model: the morphable model.
        image_size: the largest side of a picture that one of them sees.
    """

    by_name: dict[str, FaceGPTSystem]
    model: MorphableModel
    image_size: int

    @property
    def first(self) -> FaceGPTSystem:
        """The system that was named first."""
        return next(iter(self.by_name.values()))

    def methods(self, refine: int = 0) -> dict[str, Reconstruct]:
        """The ways to make heads of pictures, by the systems' names; with ``refine`` steps, each refined as well."""
        found: dict[str, Reconstruct] = {}
        for name, system in self.by_name.items():
            found[name] = _reconstruct(system)
            if refine:
                found[f"{name}, refined"] = _reconstruct(system, refine)
        return found

    def speakers(self) -> dict[str, FaceGPTSystem]:
        """Those that speak.

        Raises:
            InputError: none of them does.
        """
        found = {name: system for name, system in self.by_name.items() if system.model.config.language}
        if not found:
            raise InputError(f"{', '.join(self.by_name)}: trained without language; a system that speaks is needed")
        return found


def open_systems(wanted: Wanted) -> OpenSystems:
    """Open the systems that are asked for.

    Raises:
        InputError: one cannot be opened, or they are of several morphable models.
    """
    device = pick_device(wanted.device)
    found: dict[str, FaceGPTSystem] = {}
    for folder, name in zip(wanted.systems, _names(wanted.systems), strict=True):
        found[name] = FaceGPTSystem.load(folder, wanted.morphable, device=device)
    names, systems = list(found), list(found.values())
    if not systems:
        raise InputError("systems: none is named")
    for name, system in zip(names[1:], systems[1:], strict=True):
        if _likeness(system.morphable) != _likeness(systems[0].morphable):
            raise InputError(
                f"{name}: its morphable model is {system.morphable.name}, that of {names[0]} is "
                f"{systems[0].morphable.name}; heads of different models are not compared"
            )
    return OpenSystems(found, systems[0].morphable, max(system.image_size for system in systems))


def write_summary(wanted: Wanted, summary: dict[str, Any]) -> dict[str, Any]:
    """The summary with what was asked for before it, written to ``wanted.output`` where that is a file."""
    facts = {"systems": [str(folder) for folder in wanted.systems], "seed": wanted.seed}
    if wanted.output is not None:
        write_numbers(wanted.output, {**facts, **summary})
    return {**facts, **summary}


def _reconstruct(system: FaceGPTSystem, refine: int = 0) -> Callable[[np.ndarray], FaceParameters]:
    return lambda images: system.reconstruct(list(images), refine, check=False)


def _likeness(model: MorphableModel) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    return model.vertex_count, model.identity_names, model.expression_names


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, without ``model``; whole paths where two would be alike."""
    own = [folder.resolve().parent.name if folder.name == "model" else folder.resolve().name for folder in folders]
    names = [name if own.count(name) == 1 else str(folder) for name, folder in zip(own, folders, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"systems: {twice} is named twice")
    return names
