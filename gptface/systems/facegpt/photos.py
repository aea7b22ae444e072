"""The part of a photo that a system looks at, and photos in which no face can be."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gptface.data.images import centre_square
from gptface.errors import InputError

__all__ = ["cut_window", "photo_problem", "square"]

SMALLEST_SIDE = 24
"""Pixels below which eyes and mouths are a pixel or two."""
FLAT = 2.0
"""Spread of grey levels, of 255, below which a picture is blank."""


def cut_window(photo: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """The square ``(side, side, 3)`` of a photo.

    Raises:
        InputError: it does not lie inside the photo.
    """
    height, width = photo.shape[:2]
    if side < 1 or left < 0 or top < 0 or left + side > width or top + side > height:
        raise InputError(
            f"window: {side} pixels a side from {left}, {top} do not lie inside the photo of {width}x{height} pixels"
        )
    return photo[top : top + side, left : left + side]


def square(photo: np.ndarray, size: int | None = None) -> np.ndarray:
    """The largest centred square of a photo, uint8 ``(S, S, 3)``; resampled as training pictures are with ``size``."""
    height, width = photo.shape[:2]
    if size is None:
        left, top, right, bottom = (int(edge) for edge in centre_square(width, height))
        return photo[top:bottom, left:right]
    if (height, width) == (size, size):
        return photo
    box = centre_square(width, height)
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.BICUBIC, box=box))


def photo_problem(photo: np.ndarray) -> str | None:
    """Why no face can be in a photo, as the end of a sentence; ``None`` where one may be."""
    height, width = photo.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        return f"{width}x{height} pixels are too few; at least {SMALLEST_SIDE} a side are needed"
    if float(square(photo).mean(2).std()) < FLAT:
        return "it is blank"
    return None
