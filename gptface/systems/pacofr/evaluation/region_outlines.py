"""The facial regions of a picture, drawn over it in the colours of the groups that masks choose from."""

from __future__ import annotations

import numpy as np

from gptface.faces.regions import REGIONS
from gptface.faces.token_regions import SKIN_BOUNDARY

__all__ = ["GROUP_COLOURS", "outline_regions", "tint_patches"]

GROUP_COLOURS: dict[str, tuple[int, int, int]] = {
    "brows": (240, 140, 20),
    "eyes": (40, 130, 255),
    "nose": (40, 190, 90),
    "mouth": (235, 50, 70),
    SKIN_BOUNDARY: (245, 215, 50),
    "hair": (175, 85, 225),
}
"""Red, green and blue of each of ``REGION_GROUPS``."""

OTHERS = (200, 200, 200)
INNER = ("brows", "eyes", "nose", "mouth", "glasses", "occluder")  # within the face: skin draws no line beside them


def outline_regions(image: np.ndarray, region_map: np.ndarray, scale: int) -> np.ndarray:
    """A picture enlarged, each region with a line along its inside, one of the picture's pixels wide at most.

    Skin has the colour of its boundary, and a line where it borders on no part of the face; regions of no group are
    light grey.

    Args:
        image: uint8 ``(H, W, 3)``.
        region_map: ``(H, W)`` labels, indices into ``REGIONS``.
        scale: how many pixels a side each of the picture's becomes.
    """
    colours = np.array([GROUP_COLOURS.get(SKIN_BOUNDARY if name == "skin" else name, OTHERS) for name in REGIONS])
    enlarged = region_map.repeat(scale, 0).repeat(scale, 1)
    inner = np.isin(enlarged, [REGIONS.index(name) for name in INNER])
    line = np.zeros(enlarged.shape, dtype=bool)
    for axis in (0, 1):
        for shift in (-1, 1):
            beside, beside_inner = _shifted(enlarged, shift, axis), _shifted(inner, shift, axis)
            line |= (beside != enlarged) & (inner | ~beside_inner)
    line &= enlarged != REGIONS.index("background")
    thick = line.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            thick |= _shifted(line, shift, axis) & (_shifted(enlarged, shift, axis) == enlarged)
    drawn = image.repeat(scale, 0).repeat(scale, 1)
    drawn[thick] = colours[enlarged[thick]]
    return drawn


def _shifted(values: np.ndarray, shift: int, axis: int) -> np.ndarray:
    """``values`` one place along an axis, the edge repeated."""
    moved = np.roll(values, shift, axis)
    edge = [slice(None)] * 2
    edge[axis] = slice(0, 1) if shift > 0 else slice(-1, None)
    moved[tuple(edge)] = values[tuple(edge)]
    return moved


def tint_patches(image: np.ndarray, patches: np.ndarray, colour: tuple[int, int, int], share: float) -> np.ndarray:
    """The patches of a grid, bool ``(rows, columns)``, with so large a share of a colour; the rest as it is."""
    rows, columns = (side // cells for side, cells in zip(image.shape[:2], patches.shape, strict=True))
    inside = patches.repeat(rows, 0).repeat(columns, 1)
    tinted = image.copy()
    tinted[inside] = ((1 - share) * image[inside] + share * np.array(colour)).round().astype(np.uint8)
    return tinted
