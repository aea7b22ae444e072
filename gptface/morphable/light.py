"""Light as spherical harmonics: nine coefficients a colour describe how a matt surface is lit from all around."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.precision import without_autocast

__all__ = ["ambient_light", "directional_light", "irradiance", "matt_harmonics", "spherical_harmonics", "studio_light"]

# Real spherical harmonics of degree 0, 1, 2, and what a matt surface keeps of each degree, divided by π so that
# ambient light of radiance 1 shows a surface in its albedo (Ramamoorthi & Hanrahan, "An Efficient Representation for
# Irradiance Environment Maps", 2001).
_Y0 = 0.5 / math.sqrt(math.pi)
_Y1 = math.sqrt(3) * _Y0
_Y2 = (math.sqrt(15) * _Y0, 0.5 * math.sqrt(5) * _Y0, 0.5 * math.sqrt(15) * _Y0)
_KEPT = (1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5


def spherical_harmonics(directions: Tensor) -> Tensor:
    """The nine real spherical harmonics ``(..., 9)`` of unit vectors ``(..., 3)``, orthonormal over the sphere.

    Order: 1, y, z, x, xy, yz, 3z² − 1, xz, x² − y².
    """
    x, y, z = directions.unbind(-1)
    one = torch.ones_like(x)
    return torch.stack(
        (
            _Y0 * one,
            _Y1 * y,
            _Y1 * z,
            _Y1 * x,
            _Y2[0] * x * y,
            _Y2[0] * y * z,
            _Y2[1] * (3 * z * z - 1),
            _Y2[0] * x * z,
            _Y2[2] * (x * x - y * y),
        ),
        -1,
    )


def matt_harmonics(directions: Tensor) -> Tensor:
    """What a matt surface with these normals ``(..., 3)`` keeps of each of the nine harmonics, ``(..., 9)``."""
    return spherical_harmonics(directions) * torch.tensor(_KEPT, dtype=directions.dtype, device=directions.device)


def irradiance(normals: Tensor, light: Tensor) -> Tensor:
    """Light that falls on a matt surface, as a factor of its albedo.

    Args:
        normals: unit vectors ``(B, ..., 3)``.
        light: ``(B, 9, 3)``: coefficients of the light around, a column a colour.

    Returns:
        ``(B, ..., 3)``; negative where nine coefficients ring, as they may: clamp what is shown, not what is learned.
    """
    if light.ndim != 3 or light.shape[1:] != (9, 3):
        raise InputError(f"light has the shape {tuple(light.shape)}; it must be (batch, 9, 3)")
    harmonics = matt_harmonics(normals)
    with without_autocast(normals):
        return (harmonics.flatten(1, -2) @ light.to(normals.dtype)).view(*normals.shape[:-1], 3)


def ambient_light(radiance: float = 1.0, batch: int = 1) -> Tensor:
    """Light ``(batch, 9, 3)`` that comes equally from everywhere; with radiance 1 a face shows its albedo."""
    light = torch.zeros(batch, 9, 3)
    light[:, 0] = radiance / _Y0
    return light


def directional_light(direction: Tensor, intensity: Tensor) -> Tensor:
    """Light ``(B, 9, 3)`` of a distant lamp; a surface that faces it gets about ``intensity`` times its albedo.

    Args:
        direction: ``(B, 3)`` from the face towards the lamp, any length.
        intensity: ``(B, 3)`` a colour, or ``(B, 1)``.
    """
    unit = torch.nn.functional.normalize(direction, dim=-1)
    harmonics = spherical_harmonics(unit) * math.pi
    return harmonics[..., None] * intensity.expand(-1, 3)[:, None]


def studio_light(batch: int = 1) -> Tensor:
    """The light of the pictures that gptface draws: a warm lamp above at the viewer's left, soft light around."""
    key = directional_light(torch.tensor([[-0.6, 0.75, 0.7]]), torch.tensor([[0.92, 0.88, 0.83]]))
    rim = directional_light(torch.tensor([[0.9, 0.1, 0.1]]), torch.tensor([[0.12, 0.14, 0.18]]))
    return (ambient_light(0.32) + key + rim).expand(batch, -1, -1)
