"""Where the parts of a face lie: every patch says which facial region each of its cells belongs to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.objectives.normalisation import divided

__all__ = ["layout_cells", "layout_loss"]


def layout_cells(region_maps: Tensor, grid: tuple[int, int], cells: int) -> Tensor:
    """The region at the middle of each of ``cells × cells`` equal parts of every patch.

    Args:
        region_maps: uint8 ``(B, H, W)`` labels.
        grid: ``(h, w)`` patches.
        cells: a side.

    Returns:
        uint8 ``(B, h · w, cells²)``, patches and cells row by row.

    Raises:
        InputError: fewer pixels than cells.
    """
    rows, columns = grid[0] * cells, grid[1] * cells
    batch, height, width = region_maps.shape
    if height < rows or width < columns:
        raise InputError(f"region_maps: {height}x{width} pixels; {rows}x{columns} cells need a pixel each at least")
    down = (2 * torch.arange(rows, device=region_maps.device) + 1) * height // (2 * rows)
    across = (2 * torch.arange(columns, device=region_maps.device) + 1) * width // (2 * columns)
    middles = region_maps[:, down[:, None], across]
    return middles.view(batch, grid[0], cells, grid[1], cells).transpose(2, 3).reshape(batch, grid[0] * grid[1], -1)


def layout_loss(
    logits: Tensor, cells: Tensor, normaliser: Tensor | None = None, usable: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the cells' regions, the mean over patches and their cells: scalar float32.

    Args:
        logits: ``(R, cells, regions)``.
        cells: integers ``(R, cells)``, the regions.
        normaliser: number of patches that the sum is divided by in place of R.
        usable: bool ``(R,)``, which rows are patches; others are padding and do not count. By default all.
    """
    losses = functional.cross_entropy(logits.float().flatten(0, 1), cells.long().flatten(), reduction="none")
    patches = losses.view(cells.shape).mean(1)
    if usable is not None:
        patches = torch.where(usable, patches, 0.0)
        normaliser = usable.sum() if normaliser is None else normaliser
    return patches.mean() if normaliser is None else divided(patches.sum(), normaliser)
