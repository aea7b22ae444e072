"""How a system declares its stages, so that one command and one function can run any of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from gptface.configuration import Section
from gptface.errors import InputError
from gptface.training.stage import Stage

__all__ = ["StageContext", "StageDeclaration", "StageInput"]


@dataclass(frozen=True)
class StageInput:
    """The result of an earlier stage that a stage builds on.

    Attributes:
        name: of the part, which is also the option's name on the command line and the folder inside its run.
        summary: one line for ``--help``.
        required: whether the stage cannot do without it.
    """

    name: str
    summary: str
    required: bool = True

    def locate(self, folder: str | os.PathLike[str]) -> Path:
        """``folder``, or the part of that name inside it where ``folder`` is a whole run."""
        inside = Path(folder) / self.name
        return inside if inside.is_dir() else Path(folder)


@dataclass(frozen=True)
class StageContext:
    """What a stage is built from.

    Attributes:
        configuration: the system's whole configuration.
        inputs: folders of earlier stages' results, by name; those not given are absent.
        output: folder of the run.
        accelerator: device, processes and precision.
        resuming: whether the run goes on from a checkpoint.
        verbose: show progress on stderr.
    """

    configuration: Any
    inputs: Mapping[str, Path]
    output: Path
    accelerator: Accelerator
    resuming: bool
    verbose: bool


@dataclass(frozen=True)
class StageDeclaration:
    """One stage of a system, as ``gptface train`` offers it.

    Attributes:
        name: of the stage, which is also the name of its section in the configuration.
        summary: one line for ``--help``.
        example: a command line for ``--help``.
        configuration: class of the system's configuration; shipped files lie in ``configurations/`` beside its module.
        build: makes the stage.
        inputs: results of earlier stages.
        identify: digest of each input that is part of the run's identity, by the input's name.
    """

    name: str
    summary: str
    example: str
    configuration: type[Section]
    build: Callable[[StageContext], Stage]
    inputs: tuple[StageInput, ...] = ()
    identify: Mapping[str, Callable[[Path], str]] = field(default_factory=dict)

    def locate(self, given: Mapping[str, str | os.PathLike[str] | None]) -> dict[str, Path]:
        """The folders of the inputs.

        Raises:
            InputError: one that is required was not given, or one was given that the stage does not take.
        """
        known = {entry.name: entry for entry in self.inputs}
        for name in given:
            if name not in known:
                raise InputError(f"{name}: {self.name} takes no such input; it takes {', '.join(known) or 'none'}")
        found = {name: known[name].locate(folder) for name, folder in given.items() if folder is not None}
        for entry in self.inputs:
            if entry.required and entry.name not in found:
                raise InputError(f"--{entry.name} must be given: {entry.summary} (gptface train {entry.name})")
        return found
