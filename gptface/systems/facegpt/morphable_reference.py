"""Which morphable model a trained FaceGPT speaks of: a note beside it. The model's own data are never copied."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptface.data.paths import expand_paths
from gptface.errors import InputError
from gptface.morphable import MODEL_NAMES, MorphableModel, load_morphable_model

__all__ = ["REFERENCE", "MorphableReference", "open_morphable"]

REFERENCE = "morphable.json"
TOLERANCE = 1e-3
"""Relative, of fingerprints: a head made of formulas comes out a little different on another machine."""


def open_morphable(source: str | os.PathLike[str]) -> MorphableModel:
    """The morphable model of a name or a path, in which ``~`` and ``$VARIABLES`` are expanded.

    Raises:
        InputError: there is none.
    """
    name = os.fspath(source)
    return load_morphable_model(name if name in MODEL_NAMES else expand_paths([name], "morphable")[0])


def _fingerprint(values: Tensor) -> tuple[float, float]:
    """The root mean square of an array's values, and a weighted sum in which every place has a weight of its own."""
    flat = values.detach().cpu().double().flatten()
    if not len(flat):
        return 0.0, 0.0
    weights = torch.arange(len(flat), dtype=torch.float64).mul_(math.sqrt(2)).cos_()
    return float(flat.square().mean().sqrt()), float((flat * weights).sum() / math.sqrt(len(flat)))


@dataclass(frozen=True)
class MorphableReference:
    """What must be the same for numbers of a face to mean the same.

    Attributes:
        source: the name or path it was trained with, as the configuration had it.
        name: what the model calls itself.
        vertices: how many it has.
        identity, expression, albedo: names of its shapes.
        mean_print, identity_print, expression_print: two numbers of each array that another one does not have. None of
            the colours: the sign of an eigenvector is anybody's.
    """

    source: str
    name: str
    vertices: int
    identity: tuple[str, ...]
    expression: tuple[str, ...]
    albedo: tuple[str, ...]
    mean_print: tuple[float, float]
    identity_print: tuple[float, float]
    expression_print: tuple[float, float]

    @classmethod
    def of(cls, model: MorphableModel, source: str | os.PathLike[str]) -> MorphableReference:
        """The note on a model."""
        return cls(
            os.fspath(source),
            model.name,
            model.vertex_count,
            model.identity_names,
            model.expression_names,
            model.albedo_names,
            _fingerprint(model.mean),
            _fingerprint(model.identity_basis),
            _fingerprint(model.expression_basis),
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it into ``folder``."""
        (Path(folder) / REFERENCE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> MorphableReference:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: there is none, or it is damaged.
        """
        path = Path(folder) / REFERENCE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            kept: dict[str, Any] = {name: str(values[name]) for name in ("source", "name")}
            kept |= {kind: tuple(map(str, values[kind])) for kind in ("identity", "expression", "albedo")}
            for name in ("mean_print", "identity_print", "expression_print"):
                kept[name] = (float(values[name][0]), float(values[name][1]))
            return cls(vertices=int(values["vertices"]), **kept)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"{path}: does not say which morphable model this FaceGPT was trained with "
                f"({type(error).__name__}: {error})"
            ) from None

    def check(self, model: MorphableModel) -> MorphableModel:
        """The model itself, if it is the one of this note.

        Raises:
            InputError: another one; the sentence says in what.
        """
        found = MorphableReference.of(model, self.source)
        difference = None
        if found.vertices != self.vertices:
            difference = f"it has {found.vertices} vertices, that one {self.vertices}"
        for kind in ("identity", "expression", "albedo"):
            ours, theirs = getattr(self, kind), getattr(found, kind)
            if difference is None and len(ours) != len(theirs):
                difference = f"it has {len(theirs)} {kind} shapes, that one {len(ours)}"
            elif difference is None and ours != theirs:
                difference = f"its {kind} shapes have other names"
        for kind, what in (("mean", "mean"), ("identity", "identity basis"), ("expression", "expression basis")):
            pair = zip(getattr(self, f"{kind}_print"), getattr(found, f"{kind}_print"), strict=True)
            slack = TOLERANCE * abs(getattr(self, f"{kind}_print")[0])
            if difference is None and not all(abs(a - b) <= slack + TOLERANCE * abs(a) for a, b in pair):
                difference = f"its {what} holds other numbers"
        if difference is not None:
            raise InputError(
                f"{model.name} is not the morphable model that this system was trained with ({self.source}): "
                f"{difference}"
            )
        return model

    def open(self, source: str | os.PathLike[str] | None = None) -> MorphableModel:
        """The morphable model, from another place if one is given.

        Raises:
            InputError: it is not there, or another one.
        """
        if source is None and self.source not in MODEL_NAMES:
            path = expand_paths([self.source], "morphable")[0]
            if not os.path.exists(path):
                raise InputError(f"{path}: the morphable model of this system is no longer there; say where it is")
        return self.check(open_morphable(self.source if source is None else source))
