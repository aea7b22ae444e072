"""Masks of facial regions by name: from landmarks or a label map to what ``sample_span_mask`` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gptface.errors import InputError
from gptface.faces.landmarks import landmark_region_map
from gptface.faces.region_grid import region_grid
from gptface.faces.regions import REGIONS, region_label
from gptface.ops import FacialRegions, MaskGITCosine

__all__ = ["EXPRESSIVE_REGIONS", "face_region_grid", "guidance_masks", "region_masks"]

EXPRESSIVE_REGIONS: tuple[str, ...] = ("eyes", "brows", "nose", "mouth")
"""What says who somebody is and how they feel, on a twentieth of the picture."""


def face_region_grid(face: np.ndarray, grid: tuple[int, int], size: tuple[int, int] | None = None) -> np.ndarray:
    """The facial region of every image token, from whatever is known of the face.

    Args:
        face: a label map (H, W) of integers below ``len(REGIONS)``, or 5, 68 or 468 landmarks (x, y) in pixels, floats
            (N, 2).
        grid: (h, w) tokens.
        size: (H, W) of the image the landmarks lie in; needed with landmarks only.

    Returns:
        int64 (h · w,), row by row: a row of ``sample_span_mask``'s ``region_map``.

    Raises:
        InputError: neither a label map nor landmarks, or landmarks without ``size``.
    """
    face = np.asarray(face)
    if face.ndim != 2:
        raise InputError(f"face: shape {face.shape}; it must be a label map (H, W) or landmarks (N, 2)")
    if np.issubdtype(face.dtype, np.integer):
        return region_grid(face, grid)
    if size is None:
        raise InputError("size: missing; landmarks need the (H, W) of their image")
    return region_grid(landmark_region_map(face, size), grid)


def _labels(names: Sequence[str]) -> tuple[int, ...]:
    return tuple(region_label(name) for name in names)


def region_masks(
    grid: tuple[int, int],
    ratio: float | tuple[float, float] | MaskGITCosine = 0.4,
    weights: Mapping[str, float] | None = None,
    keep: Sequence[str] = (),
) -> FacialRegions:
    """Whole regions first, blocks for the rest (the masks of PaCo-FR, arXiv 2508.09691).

    Args:
        grid: (h, w) tokens.
        ratio: share of the tokens that are masked.
        weights: region's name to its weight; regions left out are never masked whole. By default all alike but the
            background.
        keep: regions of which no token is masked.
    """
    if weights is None:
        weights = dict.fromkeys(REGIONS[1:], 1.0)
    return FacialRegions(grid, {region_label(name): weight for name, weight in weights.items()}, ratio, _labels(keep))


def guidance_masks(
    grid: tuple[int, int],
    ratio: float | tuple[float, float] | MaskGITCosine = 0.6,
    keep: Sequence[str] = ("eyes",),
    *,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    minimum: int = 4,
    maximum: int | None = None,
) -> FacialRegions:
    """Blocks anywhere but on the regions that are to guide the rest: their tokens are always seen.

    Args:
        grid: (h, w) tokens.
        ratio: share of the *other* tokens that are masked.
        keep: names of the regions to be seen.
        aspect, minimum, maximum: of the blocks, see :class:`gptface.ops.ImageBlocks`.
    """
    return FacialRegions(grid, (), ratio, _labels(keep), aspect, minimum, maximum)
