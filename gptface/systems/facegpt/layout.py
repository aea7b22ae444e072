"""The order and the units of the numbers that the face head gives, and the face that they stand for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    matrix_to_rotation_6d,
    portrait_distance,
    rotation_6d_to_matrix,
    studio_light,
)
from gptface.morphable.parameters import FOCAL
from gptface.morphable.rotation import IDENTITY_6D

__all__ = ["FaceLayout"]


class _Projected(torch.autograd.Function):
    """Numbers cut to [0, 1]; a gradient passes wherever following it leads into that range or stays in it.

    Plain clamping has no gradient beyond the ends, where a weight that starts at 0 finds itself half of the time.
    """

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        ctx.save_for_backward(numbers)
        return numbers.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (numbers,) = ctx.saved_tensors
        (gradient,) = gradients
        # Descent moves against the gradient.
        leaving = ((numbers <= 0) & (gradient > 0)) | ((numbers >= 1) & (gradient < 0))
        return gradient.masked_fill(leaving, 0.0)


class FaceLayout:
    """How ``size`` numbers become the parameters of a face, and back.

    All numbers 0 are the neutral portrait: the mean face before the lens, in studio light. In this order:

    ==============  ==========  ========================================================================================
    ``identity``    modes       the weights
    ``expression``  modes       the weights; those of blendshapes cut to [0, 1]
    ``albedo``      modes       the weights
    ``rotation``    6           what is added to "no rotation"
    ``place``       3           where the head's centre is in the picture (right, up: 1 is the edge), and the logarithm
                                of its distance in those of the portrait
    ``light``       27          what is added to studio light, ``(9, 3)``
    ==============  ==========  ========================================================================================

    The lens is always the portrait's: from one picture, it can hardly be told from the distance.

    Args:
        model: whose weights these are.
        identity_modes, expression_modes, albedo_modes: how many of the model's modes, the first ones; ``None`` for all.

    Attributes:
        size: how many numbers a face has.
        slices: the places of each of the above, by name.

    Raises:
        InputError: more modes than the model has.
    """

    def __init__(
        self,
        model: MorphableModel,
        identity_modes: int | None = None,
        expression_modes: int | None = None,
        albedo_modes: int | None = None,
    ) -> None:
        counts = {
            "identity": _count(model, "identity", identity_modes),
            "expression": _count(model, "expression", expression_modes),
            "albedo": _count(model, "albedo", albedo_modes),
            "rotation": 6,
            "place": 3,
            "light": 27,
        }
        self.slices: dict[str, slice] = {}
        self.size = 0
        for name, count in counts.items():
            self.slices[name] = slice(self.size, self.size + count)
            self.size += count
        self.blendshapes = model.expression_kind == "blendshape"
        self.distance = portrait_distance(model)
        self._identity_6d = torch.tensor(IDENTITY_6D)
        self._studio = studio_light()[0]

    def modes(self, kind: str) -> int:
        """Number of modes of ``"identity"``, ``"expression"`` or ``"albedo"``."""
        place = self.slices[kind]
        return place.stop - place.start

    def parameters(self, numbers: Tensor) -> FaceParameters:
        """The faces of numbers ``(B, size)``; differentiable. Computed in float32, or float64 for such numbers.

        Raises:
            InputError: numbers of another shape.
        """
        if numbers.ndim != 2 or numbers.shape[1] != self.size:
            raise InputError(f"numbers has the shape {tuple(numbers.shape)}; it must be (faces, {self.size})")
        numbers = numbers if numbers.dtype == torch.float64 else numbers.float()
        part = {name: numbers[:, place] for name, place in self.slices.items()}
        expression = part["expression"]
        if self.blendshapes:
            expression = _Projected.apply(expression)
        away = part["place"][:, 2:].exp()
        half = self.distance / FOCAL  # centimetres from the middle to the edge of a portrait
        translation = torch.cat((part["place"][:, :2] * half, torch.full_like(away, -self.distance)), 1) * away
        return FaceParameters(
            identity=part["identity"],
            expression=expression,
            albedo=part["albedo"],
            rotation=part["rotation"] + self._identity_6d.to(numbers),
            translation=translation,
            light=part["light"].unflatten(1, (9, 3)) + self._studio.to(numbers),
            focal=numbers.new_full((len(numbers),), FOCAL),
        )

    def numbers(self, parameters: FaceParameters) -> Tensor:
        """The numbers ``(B, size)`` of faces: the inverse of :meth:`parameters`.

        Modes that the layout has not are left out, those that the parameters have not are 0. A rotation comes back as
        two orthonormal rows, and another lens as the distance at which this one shows the head as large.
        """
        rotation = matrix_to_rotation_6d(rotation_6d_to_matrix(parameters.rotation))
        batch = len(rotation)
        depth = -parameters.translation[:, 2:] * (FOCAL / parameters.focal[:, None])
        half = self.distance / FOCAL
        across = parameters.translation[:, :2] * (self.distance / (half * depth))
        values = {
            "rotation": rotation - self._identity_6d.to(rotation),
            "place": torch.cat((across, (depth / self.distance).log()), 1),
            "light": (parameters.light - self._studio.to(parameters.light)).flatten(1),
        }
        for kind in ("identity", "expression", "albedo"):
            weights: Tensor = getattr(parameters, kind)[:, : self.modes(kind)]
            values[kind] = torch.nn.functional.pad(weights, (0, self.modes(kind) - weights.shape[1]))
        return torch.cat([values[name].expand(batch, -1) for name in self.slices], 1)


def _count(model: MorphableModel, kind: str, modes: int | None) -> int:
    available = len(getattr(model, f"{kind}_names"))
    if modes is None:
        return available
    if isinstance(modes, bool) or not isinstance(modes, int) or not 0 <= modes <= available:
        raise InputError(f"{kind}_modes: {modes!r}; {model.name} has {available}, so allowed: 0 to {available}")
    return modes
