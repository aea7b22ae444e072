"""Cameras: where a head stands before the lens, and where its points fall in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.precision import without_autocast

__all__ = ["Camera", "PerspectiveCamera", "WeakPerspectiveCamera", "clip_to_pixels", "picture_aspect", "place"]

NEAR = 1.0
FAR = 1000.0


def place(vertices: Tensor, rotation: Tensor, translation: Tensor, centre: Tensor) -> Tensor:
    """Turn a head about ``centre`` and move that centre to ``translation``.

    Args:
        vertices: ``(B, V, 3)`` centimetres.
        rotation: matrices ``(B, 3, 3)``.
        translation: ``(B, 3)`` centimetres, in the camera's frame.
        centre: ``(3,)``, :attr:`MorphableModel.centre`.

    Returns:
        ``(B, V, 3)`` in the camera's frame: x right, y up, z towards the viewer.
    """
    with without_autocast(vertices):
        return (vertices - centre) @ rotation.transpose(-1, -2) + translation[:, None]


@dataclass(frozen=True)
class PerspectiveCamera:
    """A pinhole at the origin that looks along −z.

    Attributes:
        focal: ``(B,)`` focal length in half picture heights: 1 / tan(half the vertical angle of view). 6 is a portrait
            lens (19°).
    """

    focal: Tensor

    def clip(self, points: Tensor, aspect: float = 1.0) -> Tensor:
        """Clip coordinates ``(B, N, 4)`` of points ``(B, N, 3)``; visible depths are 1 to 1000 cm.

        Args:
            points: camera frame, centimetres; z negative before the camera.
            aspect: width of the picture by its height.
        """
        x, y, z = points.unbind(-1)
        focal = self.focal[:, None]
        depth = (FAR + NEAR) / (NEAR - FAR) * z + 2 * FAR * NEAR / (NEAR - FAR)
        return torch.stack((x * focal / aspect, y * focal, depth, -z), -1)


@dataclass(frozen=True)
class WeakPerspectiveCamera:
    """A camera without foreshortening: points are scaled and shifted, whatever their depth.

    Attributes:
        scale: ``(B,)`` half picture heights a centimetre: 0.08 shows 25 cm.
    """

    scale: Tensor

    def clip(self, points: Tensor, aspect: float = 1.0) -> Tensor:
        """Clip coordinates ``(B, N, 4)`` of points ``(B, N, 3)``; visible depths are ±1000 cm about the origin."""
        x, y, z = points.unbind(-1)
        scale = self.scale[:, None]
        return torch.stack((x * scale / aspect, y * scale, -z / FAR, torch.ones_like(z)), -1)


Camera = PerspectiveCamera | WeakPerspectiveCamera


def picture_aspect(height: int, width: int) -> float:
    """Width of a picture by its height.

    Raises:
        InputError: it has no pixels.
    """
    if height < 1 or width < 1:
        raise InputError(f"a picture of {height} × {width} pixels has none; both sides must be at least 1")
    return width / height


def clip_to_pixels(clip: Tensor, height: int, width: int) -> Tensor:
    """Pixel coordinates ``(B, N, 2)`` (x right, y down, the centre of the first pixel at 0.5) of clip coordinates.

    Raises:
        InputError: the picture has no pixels.
    """
    picture_aspect(height, width)
    x, y, _, w = clip.unbind(-1)
    return torch.stack(((x / w + 1) * 0.5 * width, (1 - y / w) * 0.5 * height), -1)
