"""Where on a face a wish takes place: from regions and zones to pixels.

A *region* is what a label map marks (hair, eyes, …). A *zone* is a box placed by the face's own bounding box (forehead,
lower face, …): it says where something would be that is not there yet, such as a hat or a beard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gptface.errors import InputError
from gptface.faces.regions import REGIONS

__all__ = ["ZONES", "Area", "area_mask", "dilate_mask", "region_area"]

# Boxes (left, top, right, bottom) in units of the face's bounding box: 0 to 1 from ear to ear, hairline to chin. In a
# frontal face the brows lie at 0.26, the eyes at 0.40, the base of the nose at 0.65, the mouth at 0.79.
ZONES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "crown": ((-0.40, -0.80, 1.40, 0.22),),
    "mane": ((-0.45, -0.10, 0.08, 1.35), (0.92, -0.10, 1.45, 1.35)),
    "forehead": ((0.00, -0.10, 1.00, 0.32),),
    "eye_band": ((-0.08, 0.12, 1.08, 0.62),),
    "cheeks": ((0.00, 0.40, 1.00, 0.90),),
    "mouth_area": ((0.12, 0.58, 0.88, 1.00),),
    "lower_face": ((-0.02, 0.52, 1.02, 1.08),),
    "jaw": ((-0.12, 0.50, 1.12, 1.35),),
    "ear_sides": ((-0.22, 0.30, 0.08, 0.90), (0.92, 0.30, 1.22, 0.90)),
    "collar": ((-0.10, 0.98, 1.10, 1.70),),
    "face": ((0.00, -0.05, 1.00, 1.02),),
}


@dataclass(frozen=True)
class Area:
    """The part of a picture a wish may change.

    Attributes:
        regions: names of ``REGIONS``, all of whose pixels belong to it.
        zones: names of ``ZONES``.
        grow: how far the regions are widened, as a fraction of the face's height.
        otherwise: what to take where none of the regions is to be seen (hair under a hat).
    """

    regions: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    grow: float = 0.03
    otherwise: Area | None = None


def region_area(names: Iterable[str], grow: float = 0.03) -> Area:
    """The area of named regions and zones; raises ``InputError`` for an unknown name."""
    regions, zones = [], []
    for name in names:
        if name in ZONES:
            zones.append(name)
        elif name in REGIONS:
            regions.append(name)
        else:
            raise InputError(
                f"region {name!r} is unknown; regions are {', '.join(REGIONS)}; zones are {', '.join(ZONES)}"
            )
    if not regions and not zones:
        raise InputError("regions: at least one name is needed")
    return Area(tuple(regions), tuple(zones), grow)


def dilate_mask(mask: np.ndarray, radius: int) -> np.ndarray:
    """``mask (H, W)`` bool widened by ``radius`` pixels in every direction (a square neighbourhood)."""
    if radius < 1:
        return mask
    # The neighbourhood of a square is one along the rows and then one along the columns.
    for axis in (0, 1):
        count = mask.shape[axis]
        marked = np.insert(np.cumsum(mask, axis=axis), 0, 0, axis=axis)  # marked pixels before each place
        places = np.arange(count)
        after = marked.take(np.minimum(places + radius + 1, count), axis=axis)
        mask = after > marked.take(np.maximum(places - radius, 0), axis=axis)
    return mask


# A region with fewer pixels than this share of the picture counts as not to be seen.
MINIMUM_REGION = 0.03
# Whose bounding box is the face's.
FACE_REGIONS = ("skin", "brows", "eyes", "nose", "mouth", "glasses", "occluder")


def area_mask(region_map: np.ndarray, area: Area, names: Sequence[str] = REGIONS) -> np.ndarray:
    """The pixels of an area.

    Args:
        region_map: ``(H, W)`` integer labels, indices into ``names``.
        area: which regions and zones.
        names: what the labels mean.

    Returns:
        ``(H, W)`` bool; empty where none of the regions is in the picture.
    """
    if region_map.ndim != 2 or not np.issubdtype(region_map.dtype, np.integer):
        raise InputError(f"region_map must be an integer matrix (H, W), got {region_map.dtype} {region_map.shape}")
    labels = {name: index for index, name in enumerate(names)}
    missing = [name for name in area.regions if name not in labels]
    if missing:
        raise InputError(f"region {missing[0]!r} is not one that this region map knows: {', '.join(names)}")
    height, width = region_map.shape
    box = _face_box(region_map, [labels[name] for name in FACE_REGIONS if name in labels])
    mask = np.isin(region_map, [labels[name] for name in area.regions])
    if area.otherwise is not None and mask.sum() < MINIMUM_REGION * mask.size:
        return area_mask(region_map, area.otherwise, names)
    if box is None:
        return dilate_mask(mask, round(area.grow * height))
    left, top, right, bottom = box
    mask = dilate_mask(mask, round(area.grow * (bottom - top)))
    for x0, y0, x1, y1 in (part for zone in area.zones for part in ZONES[zone]):
        columns = slice(*_clip(left + x0 * (right - left), left + x1 * (right - left), width))
        rows = slice(*_clip(top + y0 * (bottom - top), top + y1 * (bottom - top), height))
        mask[rows, columns] = True
    return mask


def _face_box(region_map: np.ndarray, labels: Sequence[int]) -> tuple[float, float, float, float] | None:
    """Bounding box of the face, from the 1st to the 99th percentile of its pixels so that specks do not move it."""
    rows, columns = np.nonzero(np.isin(region_map, labels))
    if rows.size < max(8, region_map.size // 500):
        return None
    left, right = np.percentile(columns, (1, 99))
    top, bottom = np.percentile(rows, (1, 99))
    return float(left), float(top), float(right) + 1, float(bottom) + 1


def _clip(low: float, high: float, limit: int) -> tuple[int, int]:
    return min(max(round(low), 0), limit), min(max(round(high), 0), limit)
