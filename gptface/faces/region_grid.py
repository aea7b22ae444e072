"""Between pixels and image tokens: region maps, landmarks and masks on the token grid."""

from __future__ import annotations

import numpy as np

from gptface.errors import InputError
from gptface.faces.regions import REGIONS, region_label

__all__ = ["pixel_mask", "region_grid", "token_mask"]

# Regions that are smaller than a token, or narrow, at usual resolutions: by majority alone they would vanish.
SMALL_REGIONS = ("eyes", "brows", "mouth", "nose", "glasses", "ears")


def region_grid(
    region_map: np.ndarray,
    grid: tuple[int, int],
    *,
    small_regions: tuple[str, ...] = SMALL_REGIONS,
    small_share: float = 0.2,
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
    counts = _counts(region_map, grid, len(REGIONS))
    labels = counts.argmax(1)
    sizes = counts.sum(1)
    for name in reversed(small_regions):
        label = region_label(name)
        labels[counts[:, label] >= np.maximum(small_share * sizes, 1)] = label
    return labels


def token_mask(mask: np.ndarray, grid: tuple[int, int], threshold: float = 0.0) -> np.ndarray:
    """The tokens a pixel mask concerns: bool (h · w,).

    A token is in when at least ``threshold`` of its pixels are (with 0: any pixel).

    Args:
        mask: bool (H, W), at least (h, w) pixels.
    """
    if mask.dtype != np.bool_:
        raise InputError(f"mask: dtype {mask.dtype}; it must be bool")
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold: {threshold}; it must be from 0 to 1")
    counts = _counts(mask, grid, 2)
    return (counts[:, 1] > 0) & (counts[:, 1] >= threshold * counts.sum(1) - 1e-9)


def pixel_mask(tokens: np.ndarray, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The pixels of the tokens in a mask: bool ``size`` = (H, W) from bool (h · w,)."""
    tokens = np.asarray(tokens)
    if tokens.shape != (grid[0] * grid[1],):
        raise InputError(f"tokens: shape {tokens.shape}; a {grid[0]}x{grid[1]} grid has {grid[0] * grid[1]} tokens")
    return tokens.astype(bool)[_cells(size, grid)]


def _cells(size: tuple[int, ...], grid: tuple[int, int]) -> np.ndarray:
    """Which token each pixel lies in: int64 (H, W). Sizes that the grid does not divide have cells of unequal size."""
    height, width = size
    if height < grid[0] or width < grid[1] or min(grid) < 1:
        raise InputError(f"grid: {grid[0]}x{grid[1]} tokens on {height}x{width} pixels; a token needs a pixel at least")
    rows = np.arange(height) * grid[0] // height
    columns = np.arange(width) * grid[1] // width
    return rows[:, None] * grid[1] + columns


def _counts(labels: np.ndarray, grid: tuple[int, int], classes: int) -> np.ndarray:
    """Pixels of each class in each token: int64 (h · w, classes)."""
    if labels.ndim != 2:
        raise InputError(f"region map or mask: shape {labels.shape}; it must be (H, W)")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"region map: labels from {labels.min()} to {labels.max()}; they must be below {classes}")
    flat = _cells(labels.shape, grid) * classes + labels
    return np.bincount(flat.ravel(), minlength=grid[0] * grid[1] * classes).reshape(-1, classes)
