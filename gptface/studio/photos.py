"""Photos that people bring to the page: read by the package's own reader, refused when too large, shrunk when large."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from gptface.data.images import image_size, load_image
from gptface.errors import InputError

__all__ = ["LARGEST_FILE", "LARGEST_PIXELS", "LONGEST_SIDE", "enlarged", "read_photo", "shrunk"]

LARGEST_FILE = 64 * 2**20
"""Bytes of an upload: a noisy photo of 20 megapixels as PNG is below it."""
LARGEST_PIXELS = 24_000_000
"""Of an upload: what most cameras make."""
LONGEST_SIDE = 1024
"""Pixels of the picture that is worked on. A page of a browser shows no more, and an edit takes longer the more."""
SHOWN_SIDE = 512
"""Least longer side of a picture on the page: browsers enlarge small ones to blocks or blur."""


def read_photo(path: str | os.PathLike[str]) -> tuple[np.ndarray, str]:
    """A photo as it is worked on, and a sentence where it had to be shrunk (else an empty one).

    Args:
        path: of a file that somebody uploaded.

    Returns:
        upright uint8 ``(H, W, 3)``, no side longer than ``LONGEST_SIDE``; the sentence.

    Raises:
        InputError: no picture, or too large a one; the sentence says which and what is allowed.
    """
    name = Path(path).name
    size = os.path.getsize(path)
    if size > LARGEST_FILE:
        raise InputError(f"{name} has {size / 1e6:.0f} MB; photos of up to {LARGEST_FILE / 1e6:.0f} MB are taken.")
    width, height = image_size(Path(path).read_bytes(), name)
    if width * height > LARGEST_PIXELS:
        raise InputError(
            f"{name} has {width * height / 1e6:.0f} megapixels ({width} × {height}); photos of up to "
            f"{LARGEST_PIXELS / 1e6:.0f} megapixels are taken. Make it smaller first."
        )
    photo = load_image(path, maximum_pixels=LARGEST_PIXELS, name=name)
    small = shrunk(photo)
    if small is photo:
        return photo, ""
    return small, (
        f"{name} was shrunk from {width} × {height} to {small.shape[1]} × {small.shape[0]} pixels: "
        "the studio works on pictures of that size."
    )


def shrunk(photo: np.ndarray, side: int = LONGEST_SIDE) -> np.ndarray:
    """``photo`` with no side longer than ``side``; the same object if it has none."""
    longest = max(photo.shape[:2])
    return photo if longest <= side else _resized(photo, side / longest)


def enlarged(picture: np.ndarray, side: int = SHOWN_SIDE) -> np.ndarray:
    """A copy to look at, its longer side at least ``side`` pixels, smoothly; the same object if it is that large."""
    longest = max(picture.shape[:2])
    return picture if longest >= side else _resized(picture, side / longest)


def _resized(picture: np.ndarray, factor: float) -> np.ndarray:
    height, width = (max(1, round(length * factor)) for length in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
