"""Everything that makes one picture of one head: shape, colour, light, pose and lens, as one record of tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.camera import PerspectiveCamera, clip_to_pixels, picture_aspect, place
from gptface.morphable.light import studio_light
from gptface.morphable.model import MorphableModel
from gptface.morphable.renderer import Rendering, render
from gptface.morphable.rotation import IDENTITY_6D, angles_to_matrix, matrix_to_rotation_6d, rotation_6d_to_matrix

__all__ = ["FaceParameters", "draw", "named_parameters", "portrait_distance", "project_landmarks"]

FOCAL = 6.0
"""A portrait lens: 19° from the lower edge to the upper."""


# Of every field for one head; None is a row of weights.
_INNER_SHAPES: dict[str, tuple[int | None, ...]] = {
    "identity": (None,),
    "expression": (None,),
    "albedo": (None,),
    "rotation": (6,),
    "translation": (3,),
    "light": (9, 3),
    "focal": (),
}


@dataclass(frozen=True)
class FaceParameters:
    """Parameters of ``B`` heads. Tensors of floats, all on one device; gradients flow through every one.

    Attributes:
        identity: ``(B, I)``.
        expression: ``(B, E)``.
        albedo: ``(B, A)``.
        rotation: ``(B, 6)``, see :func:`rotation_6d_to_matrix`.
        translation: ``(B, 3)`` where the head's centre is before the camera, centimetres.
        light: ``(B, 9, 3)`` in the camera's frame.
        focal: ``(B,)`` see :class:`PerspectiveCamera`.
    """

    identity: Tensor
    expression: Tensor
    albedo: Tensor
    rotation: Tensor
    translation: Tensor
    light: Tensor
    focal: Tensor

    @classmethod
    def neutral(cls, model: MorphableModel, batch: int = 1) -> FaceParameters:
        """The mean face, facing the camera, filling a portrait, in studio light."""
        device = model.mean.device
        return cls(
            identity=torch.zeros(batch, len(model.identity_names), device=device),
            expression=torch.zeros(batch, len(model.expression_names), device=device),
            albedo=torch.zeros(batch, len(model.albedo_names), device=device),
            rotation=torch.tensor(IDENTITY_6D, device=device).repeat(batch, 1),
            translation=torch.tensor([0.0, 0.0, -portrait_distance(model)], device=device).repeat(batch, 1),
            light=studio_light(batch).to(device),
            focal=torch.full((batch,), FOCAL, device=device),
        )

    def replace(self, **changed: Tensor) -> FaceParameters:
        """The same with some fields changed."""
        return replace(self, **changed)

    def check(self) -> FaceParameters:
        """Itself, if every number is finite. Waits for the device.

        Raises:
            InputError: a field holds NaN or infinity; the sentence names it.
        """
        for field in fields(self):
            if not bool(torch.isfinite(getattr(self, field.name)).all()):
                raise InputError(f"the parameters' {field.name} holds values that are not finite")
        return self

    def fitted(self, model: MorphableModel) -> FaceParameters:
        """The same in the model's dtype, for one number of heads: fields of one head go with those of several.

        Raises:
            InputError: a field of another shape or on another device, named in the sentence.
        """
        values: dict[str, Tensor] = {name: getattr(self, name) for name in _INNER_SHAPES}
        batch = 1
        for value in values.values():
            if value.ndim > 0 and batch != 0 and value.shape[0] != 1:
                batch = value.shape[0]
        for name, inner in _INNER_SHAPES.items():
            value = values[name]
            fits = value.ndim == 1 + len(inner) and (value.shape[0] == 1 or value.shape[0] == batch)
            for dim, length in enumerate(inner, 1):
                fits = fits and (length is None or value.shape[dim] == length)
            if not fits:
                wanted = ", ".join(str(length or "modes") for length in ("heads", *inner))
                others = f", with {batch} heads in the other fields" if batch > 1 else ""
                raise InputError(
                    f"the parameters' {name} has the shape {tuple(value.shape)}; it must be ({wanted}){others}"
                )
            if value.device != model.mean.device:
                raise InputError(f"the parameters' {name} is on {value.device}, the model on {model.mean.device}")
            values[name] = value.to(model.mean.dtype)
        values["rotation"] = values["rotation"].expand(batch, 6)
        return FaceParameters(**values)

    def vertices(self, model: MorphableModel) -> Tensor:
        """Vertices ``(B, V, 3)`` in the model's own frame: no pose."""
        return model(self.identity, self.expression)

    def placed(self, model: MorphableModel, points: Tensor) -> Tensor:
        """Points ``(B, N, 3)`` of the model's frame in the camera's frame."""
        return place(points, rotation_6d_to_matrix(self.rotation), self.translation, model.centre)


def portrait_distance(model: MorphableModel) -> float:
    """Centimetres from the lens at which the mean head fills a square portrait."""
    if len(model.landmark_vertices) == 68:
        marks = model.landmarks(model.mean[None])[0]
        half = 1.42 * float(marks[27, 1] - marks[8, 1])
    else:
        drawn = model.drawn_vertices()
        half = 0.56 * float((drawn.amax(0) - drawn.amin(0)).max())
    return FOCAL * max(half, 1e-3)


def draw(
    model: MorphableModel,
    parameters: FaceParameters,
    height: int,
    width: int,
    *,
    background: Tensor | None = None,
    smooth: bool = False,
) -> Rendering:
    """Render heads; see :func:`render`. Differentiable in every parameter.

    Raises:
        InputError: parameters that do not fit together or to the model (:meth:`FaceParameters.fitted`), a picture
            without pixels, a background of another shape.
    """
    parameters = parameters.fitted(model)
    vertices = parameters.placed(model, parameters.vertices(model))
    return render(
        vertices,
        model.triangles,
        model.albedo(parameters.albedo),
        parameters.light,
        PerspectiveCamera(parameters.focal),
        height,
        width,
        background=background,
        smooth=smooth,
        neighbours=model.neighbours() if smooth else None,
    )


def project_landmarks(model: MorphableModel, parameters: FaceParameters, height: int, width: int) -> Tensor:
    """The landmarks in the picture, ``(B, L, 2)`` pixels, x right and y down; errors as of :func:`draw`."""
    aspect = picture_aspect(height, width)
    parameters = parameters.fitted(model)
    points = parameters.placed(model, model.weighted_landmarks(parameters.identity, parameters.expression))
    return clip_to_pixels(PerspectiveCamera(parameters.focal).clip(points, aspect), height, width)


def named_parameters(
    model: MorphableModel,
    *,
    identity: Mapping[str, float] | None = None,
    expression: Mapping[str, float] | None = None,
    albedo: Mapping[str, float] | None = None,
    pose: Mapping[str, float] | None = None,
) -> FaceParameters:
    """One head from named weights and angles.

    Args:
        model: whose shapes are named.
        identity, expression, albedo: name → weight; the rest is 0.
        pose: ``yaw``, ``pitch``, ``roll`` in degrees (see :func:`angles_to_matrix`).

    Raises:
        InputError: an unknown name, or a weight that is no finite number.
    """
    angles = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0}
    for name, value in (pose or {}).items():
        if name not in angles:
            raise InputError(f"pose {name!r} is unknown; allowed: yaw, pitch, roll")
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise InputError(f"pose {name}: {value!r} is no angle; it must be a finite number of degrees")
        angles[name] = float(value)
    turned = angles_to_matrix(*(torch.tensor([angle]) for angle in angles.values()))
    return (
        FaceParameters.neutral(model)
        .replace(
            identity=model.weights("identity", identity or {}),
            expression=model.weights("expression", expression or {}),
            albedo=model.weights("albedo", albedo or {}),
            rotation=matrix_to_rotation_6d(turned).to(model.mean.device),
        )
        .check()
    )
