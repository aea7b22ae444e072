"""Gather and scatter of rows by definition, in PyTorch: its own kernels run at the speed of memory on every device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gather_reference", "scatter_reference"]


def gather_reference(rows: Tensor, indices: Tensor) -> Tensor:
    """``rows (N, C)``, ``indices (M,)`` to ``(M, C)``; zeros where the index is −1."""
    if rows.shape[0] == 0:  # no row to stand in for those of −1, and nothing else is allowed
        torch._assert_async((indices == -1).all(), "gather_rows: an index into hidden states without rows")
        return rows.new_zeros((indices.shape[0], rows.shape[1]))
    # An index below −1 stays out of range, for index_select to find.
    found = rows.index_select(0, torch.where(indices == -1, 0, indices))
    return found.masked_fill_((indices == -1).unsqueeze(1), 0.0)


def scatter_reference(values: Tensor, indices: Tensor, size: int) -> Tensor:
    """The transpose: ``values (M, C)`` to ``(size, C)``, rows of equal index added up, those of −1 left out."""
    result = values.new_zeros((size, values.shape[1]))
    if size == 0:
        return result
    nowhere = indices == -1
    # Rows of −1 add zeros, each to another row: to a common one, thousands of atomic additions would queue up. Adding
    # zero changes nothing, so where no index is repeated the result has the same bits on every run.
    spread = torch.arange(indices.shape[0], device=indices.device, dtype=indices.dtype) % size
    return result.index_add_(0, torch.where(nowhere, spread, indices), values.masked_fill(nowhere.unsqueeze(1), 0.0))
