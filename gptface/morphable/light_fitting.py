"""The light in which a head of known shape, colour and pose looks most like a photo, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.camera import PerspectiveCamera
from gptface.morphable.geometry import vertex_normals
from gptface.morphable.light import matt_harmonics, studio_light
from gptface.morphable.model import MorphableModel
from gptface.morphable.parameters import FaceParameters
from gptface.morphable.renderer import srgb_to_linear
from gptface.ops import interpolate, rasterize

__all__ = ["fit_light"]

STRENGTH = 0.01
"""Of the pull towards studio light, as a share of what the pixels say: coefficients that no pixel tells stay there."""
HEADS_AT_ONCE = 32
"""Normals of a head of 27,000 vertices take megabytes."""


@torch.no_grad()
def fit_light(
    model: MorphableModel, parameters: FaceParameters, images: Tensor, *, inside: Tensor | None = None
) -> FaceParameters:
    """The same heads in light fitted to photos: ridge regression of linear-light pixels on albedo × harmonics.

    Args:
        model: the model.
        parameters: of ``B`` heads, as they lie in the photos.
        images: ``(B, H, W, 3)`` sRGB, 0 to 1.
        inside: bool ``(B, H, W)``: pixels that count; by default all that the head covers.

    Raises:
        InputError: images or ``inside`` of another shape.
    """
    parameters = parameters.fitted(model)
    batch = len(parameters.rotation)
    if images.ndim != 4 or images.shape[3] != 3 or len(images) != batch:
        raise InputError(f"images have the shape {tuple(images.shape)}; they must be (heads, height, width, 3)")
    if inside is not None and inside.shape != images.shape[:3]:
        raise InputError(f"inside has the shape {tuple(inside.shape)}; it must be {tuple(images.shape[:3])}")
    light = []
    for start in range(0, batch, HEADS_AT_ONCE):
        rows = slice(start, start + HEADS_AT_ONCE)
        own = {name: value[rows] if len(value) > 1 else value for name, value in vars(parameters).items()}
        light.append(_light(model, FaceParameters(**own), images[rows], None if inside is None else inside[rows]))
    return parameters.replace(light=torch.cat(light))


def _light(model: MorphableModel, parameters: FaceParameters, images: Tensor, inside: Tensor | None) -> Tensor:
    """The light ``(B, 9, 3)`` of a few heads."""
    batch, height, width = images.shape[:3]
    vertices = parameters.placed(model, parameters.vertices(model))
    normals = vertex_normals(vertices, model.triangles)
    clip = PerspectiveCamera(parameters.focal).clip(vertices, width / height)
    raster = rasterize(clip, model.triangles, height, width)
    albedo = model.albedo(parameters.albedo).expand(batch, -1, -1)
    pixels = interpolate(torch.cat((normals, albedo), -1), raster, model.triangles)
    # The light that a pixel sends back is linear in the coefficients of the light around.
    harmonics = matt_harmonics(torch.nn.functional.normalize(pixels[..., :3], dim=-1, eps=1e-6))
    counted = (raster.triangle >= 0) if inside is None else (raster.triangle >= 0) & inside
    seen = srgb_to_linear(images.to(pixels).clamp(0, 1))
    base = studio_light(1)[0].to(pixels)
    light = []
    for colour in range(3):
        rows = (harmonics * pixels[..., 3 + colour, None] * counted[..., None]).flatten(1, 2)
        rest = (seen[..., colour] * counted).flatten(1) - rows @ base[:, colour]
        square = rows.mT @ rows
        ridge = STRENGTH * square.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-6)
        square = square + ridge[:, None, None] * torch.eye(9, device=rows.device)
        light.append(base[:, colour] + torch.linalg.solve(square, (rows.mT @ rest[..., None]))[..., 0])
    return torch.stack(light, -1)
