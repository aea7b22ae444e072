"""Things painted over faces, so that what is under them is known: a medical mask, sunglasses, a patch of the face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gptface.errors import InputError
from gptface.faces.areas import FACE_REGIONS, area_mask, dilate_mask, region_area
from gptface.faces.names import find
from gptface.faces.regions import region_label

__all__ = ["COVERS", "Cover", "covered"]

BLOCK = 0.3  # side of a block, in shares of the picture's


@dataclass(frozen=True)
class Cover:
    """Something that covers a part of a face.

    Attributes:
        mask: from a region map ``(H, W)`` and a generator to its pixels, bool ``(H, W)``.
        level: its grey, 0 to 255.
    """

    mask: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    level: int


def _medical_mask(region_map: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The face below the middle of the nose, as wide as it is."""
    return _of_face(region_map) & area_mask(region_map, region_area(["lower_face"]))


def _sunglasses(region_map: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Both eyes, widened, and what lies between them."""
    eyes = area_mask(region_map, region_area(["eyes"], grow=0.06))
    rows, columns = np.nonzero(eyes)
    if not len(rows):
        return eyes
    # The bridge: in every row between the eyes' own, from the one to the other.
    middle = (columns.min() + columns.max()) // 2
    left, right = columns[columns <= middle], columns[columns > middle]
    top, bottom = np.quantile(rows, [0.25, 0.6]).round().astype(int)
    if len(left) and len(right):
        eyes[top : bottom + 1, left.max() : right.min() + 1] = True
    return eyes


def _mouth(region_map: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return area_mask(region_map, region_area(["mouth"], grow=0.06))


def _block(region_map: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A square with its centre somewhere on the face."""
    height, width = region_map.shape
    rows, columns = np.nonzero(_of_face(region_map))
    mask = np.zeros(region_map.shape, dtype=bool)
    if len(rows):
        place = int(random.integers(len(rows)))
        side = round(BLOCK * min(height, width))
        top = int(np.clip(rows[place] - side // 2, 0, height - side))
        left = int(np.clip(columns[place] - side // 2, 0, width - side))
        mask[top : top + side, left : left + side] = True
    return mask


def _of_face(region_map: np.ndarray) -> np.ndarray:
    face = np.isin(region_map, [region_label(name) for name in FACE_REGIONS])
    return dilate_mask(face, 1)


COVERS: dict[str, Cover] = {
    "medical_mask": Cover(_medical_mask, 205),
    "sunglasses": Cover(_sunglasses, 25),
    "mouth": Cover(_mouth, 128),
    "block": Cover(_block, 128),
}
"""By name."""


def covered(
    image: np.ndarray, region_map: np.ndarray, name: str, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a cover painted on it, and the cover's pixels.

    Args:
        image: uint8 ``(H, W, 3)``.
        region_map: uint8 ``(H, W)``, indices into ``REGIONS``.
        name: of ``COVERS``.
        random: decides where a block lies.

    Returns:
        uint8 ``(H, W, 3)`` and bool ``(H, W)``; the latter is empty where the regions that it covers are not there.

    Raises:
        InputError: an unknown name, or a region map of another size.
    """
    if region_map.shape != image.shape[:2]:
        raise InputError(f"region map: {region_map.shape} for a picture of {image.shape[:2]}; they must be as large")
    cover = find("cover", name, COVERS)
    mask = cover.mask(region_map, random)
    painted = image.copy()
    painted[mask] = cover.level
    return painted, mask
