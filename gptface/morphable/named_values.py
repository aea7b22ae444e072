"""Parameters of heads in words: every weight under its shape's name, angles in degrees."""

from __future__ import annotations

from typing import Any

from gptface.morphable.model import MorphableModel
from gptface.morphable.parameters import FaceParameters
from gptface.morphable.rotation import matrix_to_angles, rotation_6d_to_matrix

__all__ = ["named_values"]


def named_values(model: MorphableModel, parameters: FaceParameters) -> list[dict[str, Any]]:
    """One dictionary a head, of plain numbers that JSON can hold.

    ``identity``, ``expression`` and ``albedo`` hold name → weight, ``pose`` yaw, pitch and roll in degrees,
    ``translation`` three centimetres, ``light`` nine rows of three, ``focal`` a number. What
    :func:`~gptface.morphable.named_parameters` takes is among them.

    Raises:
        InputError: parameters that do not fit the model, or are not finite.
    """
    fitted = parameters.check().fitted(model)
    angles = matrix_to_angles(rotation_6d_to_matrix(fitted.rotation))
    heads = []
    for index in range(len(fitted.rotation)):
        entry: dict[str, Any] = {}
        for kind in ("identity", "expression", "albedo"):
            rows = getattr(fitted, kind)
            names: tuple[str, ...] = getattr(model, f"{kind}_names")
            row = rows[min(index, len(rows) - 1)].tolist()
            entry[kind] = dict(zip(names, row, strict=False))  # weights for the first modes are allowed
        entry["pose"] = {
            name: float(angle[index]) for name, angle in zip(("yaw", "pitch", "roll"), angles, strict=True)
        }
        for name in ("translation", "light", "focal"):
            values = getattr(fitted, name)
            entry[name] = values[min(index, len(values) - 1)].tolist()
        heads.append(entry)
    return heads
