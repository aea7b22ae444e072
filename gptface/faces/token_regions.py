"""Region maps of a batch on the grid of image tokens, where the maps are: what masks of facial regions are drawn from.

The rule is that of :func:`gptface.faces.region_grid.region_grid`, which is for one map and needs no torch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.faces.region_grid import SMALL_REGIONS, SMALL_SHARE
from gptface.faces.regions import REGIONS, region_label

__all__ = ["SKIN_BOUNDARY", "TOKEN_REGIONS", "token_regions"]

SKIN_BOUNDARY = "skin_boundary"
"""Tokens of skin beside one that is no part of the face: its outline, as a region that can be masked by itself."""

TOKEN_REGIONS: tuple[str, ...] = (*REGIONS, SKIN_BOUNDARY)
"""What the labels of tokens mean: ``REGIONS``, and behind them what only a grid knows."""

FACE = ("skin", "brows", "eyes", "nose", "mouth", "glasses", "occluder")  # whose neighbours are no boundary


def token_regions(region_maps: Tensor, grid: tuple[int, int], *, boundary: bool = False) -> Tensor:
    """The facial region of every image token.

    Args:
        region_maps: uint8 (B, H, W) labels below ``len(REGIONS)``, at least (h, w) pixels. Values on a CUDA device are
            not looked at.
        grid: (h, w) tokens.
        boundary: label the tokens of :data:`SKIN_BOUNDARY` as such and not as skin. The picture's edge is none.

    Returns:
        int64 (B, h · w), row by row, indices into ``TOKEN_REGIONS``, on the maps' device.

    Raises:
        InputError: not such maps, or fewer pixels than tokens.
    """
    if region_maps.ndim != 3 or region_maps.dtype != torch.uint8:
        shape = tuple(region_maps.shape)
        raise InputError(f"region_maps: {region_maps.dtype} {shape}; they must be uint8 (B, H, W)")
    counts, sizes = _counts(region_maps, grid)
    labels = counts.argmax(-1)
    enough = (SMALL_SHARE * sizes.double()).clamp(min=1)
    for name in reversed(SMALL_REGIONS):
        label = region_label(name)
        labels.masked_fill_(counts[..., label] >= enough, label)
    return _with_boundary(labels, grid) if boundary else labels


def _counts(region_maps: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixels of each region in each token, (B, h · w, regions), and of each token, (h · w,)."""
    batch, height, width = region_maps.shape
    if height < grid[0] or width < grid[1] or min(grid) < 1:
        raise InputError(f"grid: {grid[0]}x{grid[1]} tokens on {height}x{width} pixels; a token needs a pixel at least")
    device, regions = region_maps.device, len(REGIONS)
    rows = torch.arange(height, device=device) * grid[0] // height
    columns = torch.arange(width, device=device) * grid[1] // width
    first = ((rows[:, None] * grid[1] + columns) * regions).int()  # place of a pixel's label 0 among its map's counts
    heights, widths = (
        (-(torch.arange(cells + 1, device=device) * -pixels // cells)).diff()  # without waiting for a device
        for cells, pixels in zip(grid, (height, width), strict=True)
    )
    sizes = (heights[:, None] * widths).view(-1)
    if device.type == "cpu" and region_maps.numel() and int(region_maps.max()) >= regions:
        raise InputError(f"region_maps: label {int(region_maps.max())}; labels must be below {regions}")
    histograms = _one_by_one if device.type == "cpu" else _all_at_once
    return histograms(first, region_maps, len(sizes) * regions).view(batch, len(sizes), regions), sizes


def _one_by_one(first: Tensor, region_maps: Tensor, bins: int) -> Tensor:
    """How often each ``first + label`` occurs, (B, bins): a map and its places fit into the nearest cache."""
    counts = torch.empty(len(region_maps), bins, dtype=torch.int64)
    for row, region_map in zip(counts, region_maps, strict=True):
        row.copy_((first + region_map).view(-1).bincount(minlength=bins))
    return counts


def _all_at_once(first: Tensor, region_maps: Tensor, bins: int) -> Tensor:
    """The same without waiting for a device."""
    starts = torch.arange(len(region_maps), device=region_maps.device)[:, None, None] * bins
    places = (starts + first + region_maps).view(-1)
    counts = torch.zeros(len(region_maps) * bins, dtype=torch.int32, device=region_maps.device)
    return counts.scatter_add_(0, places, torch.ones_like(places, dtype=torch.int32)).view(-1, bins)


def _with_boundary(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    faces = torch.tensor([name in FACE for name in REGIONS], device=labels.device)
    around = functional.pad(~faces[labels].view(-1, *grid), (1, 1, 1, 1))
    beside = around[:, :-2, 1:-1] | around[:, 2:, 1:-1] | around[:, 1:-1, :-2] | around[:, 1:-1, 2:]
    boundary = beside.flatten(1) & (labels == region_label("skin"))
    return labels.masked_fill_(boundary, TOKEN_REGIONS.index(SKIN_BOUNDARY))
