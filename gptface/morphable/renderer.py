"""The differentiable renderer: a head, its colours, a light and a camera become a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.camera import Camera, picture_aspect
from gptface.morphable.geometry import vertex_normals
from gptface.morphable.light import irradiance
from gptface.ops import Raster, antialias, interpolate, rasterize

__all__ = ["Rendering", "linear_to_srgb", "render", "srgb_to_linear"]


@dataclass(frozen=True)
class Rendering:
    """What :func:`render` gives.

    Attributes:
        image: ``(B, H, W, 3)`` as screens show it (sRGB), 0 to 1; the background where there is no head.
        mask: ``(B, H, W)``: how much of a pixel the head covers.
        raster: which triangle each pixel shows.
    """

    image: Tensor
    mask: Tensor
    raster: Raster


def linear_to_srgb(colour: Tensor) -> Tensor:
    """Values for a screen from linear light, 0 to 1 (IEC 61966-2-1); clamped."""
    colour = colour.clamp(0, 1)
    curve = 1.055 * colour.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(colour <= 0.0031308, 12.92 * colour, curve)


def srgb_to_linear(colour: Tensor) -> Tensor:
    """Linear light from values for a screen, 0 to 1: the inverse of :func:`linear_to_srgb`."""
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def render(
    vertices: Tensor,
    triangles: Tensor,
    albedo: Tensor,
    light: Tensor,
    camera: Camera,
    height: int,
    width: int,
    *,
    background: Tensor | None = None,
    smooth: bool = False,
    neighbours: Tensor | None = None,
) -> Rendering:
    """Draw matt heads, with gradients to everything that is a tensor of floats.

    Args:
        vertices: ``(B, V, 3)`` in the camera's frame (see :func:`gptface.morphable.place`).
        triangles: ``(T, 3)``.
        albedo: ``(B, V, 3)`` or ``(1, V, 3)``, linear light.
        light: ``(B, 9, 3)`` or ``(1, 9, 3)``, in the camera's frame (see :mod:`gptface.morphable.light`).
        camera: perspective or weak perspective.
        height, width: of the picture in pixels.
        background: ``(H, W, 3)`` or ``(B, H, W, 3)``, sRGB; black where absent.
        smooth: blend colours across outlines, which gives image and mask a gradient to the outlines, and takes several
            times as long; without, every pixel shows one triangle and has the gradient of what it shows.
        neighbours: of ``triangles`` (:func:`gptface.ops.triangle_neighbours`); found at each call where absent.

    Raises:
        InputError: vertices, albedo, light and background that do not fit together. Whether they are finite is not
            looked at, which would wait for the device: a triangle with a corner that is not is left out
            (``raster.dropped``).
    """
    batch = vertices.shape[0]
    if albedo.shape[1:] != vertices.shape[1:] or albedo.shape[0] not in (1, batch):
        raise InputError(f"albedo has the shape {tuple(albedo.shape)}; it must be ({batch}, {vertices.shape[1]}, 3)")
    if light.shape[0] not in (1, batch):
        raise InputError(f"light has the shape {tuple(light.shape)}; it must be ({batch}, 9, 3) or (1, 9, 3)")
    if background is not None and (
        not background.is_floating_point()
        or background.shape[-3:] != (height, width, 3)
        or background.shape[:-3] not in ((), (1,), (batch,))
    ):
        raise InputError(
            f"background is {background.dtype} {tuple(background.shape)}; it must be floats from 0 to 1, "
            f"({height}, {width}, 3) or ({batch}, {height}, {width}, 3)"
        )
    # Nine coefficients light a surface so evenly that lighting the vertices and mixing what a screen shows of them is
    # the same picture, on meshes of thousands of vertices, for a fraction of the work.
    shades = irradiance(vertex_normals(vertices, triangles), light.expand(batch, -1, -1))
    colours = linear_to_srgb(albedo * shades)
    clip = camera.clip(vertices, picture_aspect(height, width))
    raster = rasterize(clip, triangles, height, width)
    pixels = interpolate(colours, raster, triangles)
    hit = raster.triangle >= 0
    behind = torch.zeros_like(pixels) if background is None else background.to(pixels).expand_as(pixels)
    image = torch.where(hit[..., None], pixels, behind)
    covered = hit.to(vertices.dtype)
    if smooth:
        both = torch.cat((image, covered[..., None]), -1)
        both = antialias(both, raster, clip, triangles, neighbours=neighbours)
        image, covered = both[..., :3], both[..., 3]
    return Rendering(image, covered, raster)
