"""Many faces in one picture, to be looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from gptface.errors import InputError
from gptface.files import atomic_write

from .dataset import ProceduralFaces

__all__ = ["contact_sheet", "write_contact_sheet"]

MOST = 96


def contact_sheet(images: Sequence[np.ndarray], columns: int = 12, gap: int = 2) -> np.ndarray:
    """uint8 (rows·(H + gap) + gap, columns·(W + gap) + gap, 3): images of one size, row by row, on white."""
    if not images:
        raise InputError("images: there are none to lay out")
    columns = min(columns, len(images))
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = gap + number // columns * (height + gap), gap + number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def write_contact_sheet(faces: ProceduralFaces, path: str | os.PathLike[str]) -> None:
    """The first faces (at most 96) as one PNG."""
    from PIL import Image

    if os.path.splitext(path)[1].lower() != ".png":
        raise InputError(f"contact sheet {os.fspath(path)!r}: its name must end in .png")
    images = [faces[item].image for item in range(min(len(faces), MOST))]
    with atomic_write(path) as temporary:
        Image.fromarray(contact_sheet(images)).save(temporary)
