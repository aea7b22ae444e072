"""A region map on the grid of image tokens."""

from __future__ import annotations

import numpy as np

from gptface.errors import InputError
from gptface.faces.regions import REGIONS, region_label

__all__ = ["region_grid"]

# Regions that are smaller than a token, or narrow, at usual resolutions: by majority alone they would vanish.
SMALL_REGIONS = ("eyes", "brows", "mouth", "nose", "glasses", "ears")
SMALL_SHARE = 0.2  # of a token's pixels, that such a region must cover


def region_grid(
    region_map: np.ndarray,
    grid: tuple[int, int],
    *,
    small_regions: tuple[str, ...] = SMALL_REGIONS,
    small_share: float = SMALL_SHARE,
) -> np.ndarray:
    """The facial region of every image token.

    A token belongs to the region that covers most of its pixels, unless one of ``small_regions`` covers at least
    ``small_share`` of them: then to the first such in the order given.

    Args:
        region_map: integer labels (H, W), at least (h, w) pixels, below ``len(REGIONS)``.
        grid: (h, w) tokens.

    Returns:
        int64 (h · w,), row by row.
    """
    counts = _counts(region_map, grid)
    labels = counts.argmax(1)
    sizes = counts.sum(1)
    for name in reversed(small_regions):
        label = region_label(name)
        labels[counts[:, label] >= np.maximum(small_share * sizes, 1)] = label
    return labels


def _cells(size: tuple[int, ...], grid: tuple[int, int]) -> np.ndarray:
    """Which token each pixel lies in: int64 (H, W). Sizes that the grid does not divide have cells of unequal size."""
    height, width = size
    if height < grid[0] or width < grid[1] or min(grid) < 1:
        raise InputError(f"grid: {grid[0]}x{grid[1]} tokens on {height}x{width} pixels; a token needs a pixel at least")
    rows = np.arange(height) * grid[0] // height
    columns = np.arange(width) * grid[1] // width
    return rows[:, None] * grid[1] + columns


def _counts(region_map: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Pixels of each region in each token: int64 (h · w, regions)."""
    regions = len(REGIONS)
    if region_map.ndim != 2:
        raise InputError(f"region map: shape {region_map.shape}; it must be (H, W)")
    if region_map.size and not 0 <= int(region_map.min()) <= int(region_map.max()) < regions:
        low, high = region_map.min(), region_map.max()
        raise InputError(f"region map: labels from {low} to {high}; they must be below {regions}")
    flat = _cells(region_map.shape, grid) * regions + region_map
    return np.bincount(flat.ravel(), minlength=grid[0] * grid[1] * regions).reshape(-1, regions)
