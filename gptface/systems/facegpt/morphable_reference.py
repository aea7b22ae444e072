"""Which morphable model a system was trained with: its name or path and what tells it from others, not its data."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.morphable import MODEL_NAMES, MorphableModel, load_morphable_model

__all__ = ["REFERENCE", "load_reference", "write_reference"]

REFERENCE = "morphable.json"
KINDS = ("identity", "expression", "albedo")
TOLERANCE = 1e-3
"""Relative, of fingerprints: a built-in head comes out a little different on another machine."""


def _fingerprint(values: Tensor) -> list[float]:
    """The root mean square of an array's values, and a weighted mean in which every place has a weight of its own."""
    flat = values.detach().cpu().double().flatten()
    if not len(flat):
        return [0.0, 0.0]
    weights = torch.arange(len(flat), dtype=torch.float64).mul_(math.sqrt(2)).cos_()
    return [float(flat.square().mean().sqrt()), float((flat * weights).mean() * math.sqrt(len(flat)))]


def _description(model: MorphableModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "vertices": model.vertex_count,
        "triangles": int(model.triangles.shape[0]),
        "expression_kind": model.expression_kind,
        **{kind: list(getattr(model, f"{kind}_names")) for kind in KINDS},
        # Not of the colours: the sign of an eigenvector is anybody's.
        "fingerprints": {
            "mean": _fingerprint(model.mean),
            "identity": _fingerprint(model.identity_basis),
            "expression": _fingerprint(model.expression_basis),
        },
    }


def write_reference(folder: str | os.PathLike[str], source: str | os.PathLike[str], model: MorphableModel) -> None:
    """Write ``morphable.json`` into a folder.

    Args:
        folder: of the trained model.
        source: what :func:`load_morphable_model` was given; a path is kept as an absolute one.
        model: what it gave.
    """
    name = os.fspath(source)
    kept = name if name in MODEL_NAMES else str(Path(name).resolve())
    with atomic_write(Path(folder) / REFERENCE) as temporary:
        temporary.write_text(json.dumps({"source": kept, **_description(model)}, indent=1) + "\n", encoding="utf-8")


def load_reference(
    folder: str | os.PathLike[str], source: str | os.PathLike[str] | None = None
) -> MorphableModel:
    """The morphable model of a trained system.

    Args:
        folder: where :func:`write_reference` wrote.
        source: the model's name or path, where it is no longer that of the training.

    Raises:
        InputError: ``morphable.json`` is missing or damaged, the model is not there or cannot be read, or is another.
    """
    path = Path(folder) / REFERENCE
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; it says which morphable model a FaceGPT was trained with")
    try:
        wanted = json.loads(path.read_text(encoding="utf-8"))
        name, known = str(wanted["source"]), {key: wanted[key] for key in ("vertices", "triangles", *KINDS)}
        fingerprints = {key: [float(value) for value in values] for key, values in wanted["fingerprints"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {error}); train again, or copy it anew") from None
    if source is None and name not in MODEL_NAMES and not Path(name).exists():
        raise InputError(f"{name}: the morphable model of this system is no longer there; say where it is (--model)")
    model = load_morphable_model(name if source is None else source)
    found = _description(model)
    for key, value in known.items():
        if found[key] != value:
            raise InputError(_difference(name, model, key, value, found[key]))
    for key, values in fingerprints.items():
        theirs = found["fingerprints"].get(key, [])
        if len(theirs) != len(values) or not all(
            math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE * abs(values[0]))
            for a, b in zip(values, theirs, strict=True)
        ):
            raise InputError(
                f"{model.name} is not the morphable model that this system was trained with ({name}): "
                f"its {key if key == 'mean' else f'{key} basis'} holds other numbers"
            )
    return model


def _difference(name: str, model: MorphableModel, key: str, wanted: Any, found: Any) -> str:
    start = f"{model.name} is not the morphable model that this system was trained with ({name}): "
    if key in ("vertices", "triangles"):
        return start + f"it has {found} {key}, that one {wanted}"
    if len(found) != len(wanted):
        return start + f"it has {len(found)} {key} shapes, that one {len(wanted)}"
    return start + f"its {key} shapes have other names"
