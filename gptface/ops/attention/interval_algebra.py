"""What can be computed on intervals: their meaning as a dense mask and back, order, intersection, tile classes.

Pure functions of ``(B or 1, Sq, K, 2)`` int32 tensors, on the device; only :func:`from_dense` synchronises. An interval
mask may hold odd values (see :func:`dense_from_intervals`), and every function here honours their meaning.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.errors import InputError

__all__ = ["dense_from_intervals", "from_dense", "intersection", "normalized", "tile_classes"]


def dense_from_intervals(intervals: Tensor, num_keys: int) -> Tensor:
    """The definition: ``visible[b, i, j]`` iff ``lo <= j < hi`` for one of the K intervals ``(lo, hi)`` of row (b, i).

    It is total: an interval with ``lo >= hi`` is empty, what lies outside ``[0, num_keys)`` counts for nothing, and
    overlapping intervals mean their union.

    Args:
        intervals: ``(B, Sq, K, 2)`` integer.
        num_keys: Skv.

    Returns:
        ``(B, Sq, Skv)`` bool on the device of ``intervals``.
    """
    keys = torch.arange(num_keys, device=intervals.device, dtype=torch.int32)
    visible = None
    for k in range(intervals.shape[2]):
        low, high = intervals[:, :, k, :1], intervals[:, :, k, 1:]
        inside = (keys >= low) & (keys < high)
        visible = inside if visible is None else visible | inside
    assert visible is not None
    return visible


def from_dense(visible: Tensor) -> Tensor:
    """Intervals of a bool ``(Sq, Skv)``, ``(B, Sq, Skv)`` or ``(B, 1, Sq, Skv)``.

    An :class:`InputError` names a row that needs three; in compiled code, where K is 2, it fails on the device.
    """
    _check_dense(visible)
    rows = visible.unsqueeze(0) if visible.ndim == 2 else visible
    rows = rows.squeeze(1) if rows.ndim == 4 else rows
    edge = torch.zeros_like(rows[..., :1]) if rows.shape[-1] else rows.new_zeros((*rows.shape[:2], 1))
    before, after = torch.cat([edge, rows], dim=-1), torch.cat([rows, edge], dim=-1)
    rises, falls = ~before & after, before & ~after  # (B, Sq, Skv + 1): an interval begins, has just ended, at j
    count = rises.sum(-1)
    if torch.compiler.is_compiling():
        torch._assert_async((count <= 2).all(), "a row of a dense mask needs more than two intervals")
        most = 2
    else:
        most = max(1, int(count.max())) if count.numel() else 1
    if most > 2:
        batch, row = (int(index) for index in (count > 2).nonzero()[0])
        raise InputError(
            f"visible[{batch}, {row}] needs {int(count[batch, row])} intervals, an IntervalMask has at most two a row "
            f"(visible of shape {tuple(visible.shape)})"
        )
    pairs = []
    for k in range(1, 1 + most):
        exists = count >= k
        low = ((rises.cumsum(-1) == k) & rises).int().argmax(-1)
        high = ((falls.cumsum(-1) == k) & falls).int().argmax(-1)
        # A row with fewer intervals ends with empty ones at its own end, which keeps the row in order.
        end = torch.where(rows.any(-1), rows.shape[-1] - rows.flip(-1).int().argmax(-1), 0) if rows.shape[-1] else low
        pairs.append(torch.stack([torch.where(exists, low, end), torch.where(exists, high, end)], dim=-1))
    return torch.stack(pairs, dim=2).to(torch.int32)


def _check_dense(visible: Tensor) -> None:
    if not isinstance(visible, Tensor):
        raise InputError(f"visible must be a bool tensor (Sq, Skv) or (B, Sq, Skv), got {type(visible).__name__}")
    heads = visible.ndim == 4 and visible.shape[1] != 1
    if visible.dtype == torch.bool and visible.ndim in (2, 3, 4) and not heads:
        return
    hint = ""
    if heads:
        hint = "; the heads of a layer share one mask"
    elif visible.dtype != torch.bool and visible.ndim == 2:
        hint = "; a padding mask (B, S) of ones and zeros is IntervalMask.padding(lengths, S), lengths = its sum over S"
    elif visible.is_floating_point():
        hint = "; an additive mask (0 and -inf) is visible == 0"
    raise InputError(
        "visible must be a bool tensor (Sq, Skv), (B, Sq, Skv) or (B, 1, Sq, Skv), "
        f"got {visible.dtype} {tuple(visible.shape)}{hint}"
    )


def normalized(intervals: Tensor, num_keys: int) -> Tensor:
    """The same visibility, each row in order: ``0 <= lo0 <= hi0 <= lo1 <= hi1 <= num_keys``, touching ones merged."""
    low, high = intervals.clamp(0, num_keys).unbind(-1)
    high = torch.maximum(low, high)
    if intervals.shape[2] == 1:
        return torch.stack([low, high], dim=-1)
    # Order by start, an empty interval last; then join what overlaps or touches.
    start = torch.where(low < high, low, num_keys)
    swap = (start[..., 1] < start[..., 0]).unsqueeze(-1)
    low, high = torch.where(swap, low.flip(-1), low), torch.where(swap, high.flip(-1), high)
    (low_0, low_1), (high_0, high_1) = low.unbind(-1), high.unbind(-1)
    second_empty = low_1 >= high_1
    joined = second_empty | (low_1 <= high_0)
    high_0 = torch.where(joined & ~second_empty, torch.maximum(high_0, high_1), high_0)
    low_1, high_1 = torch.where(joined, high_0, low_1), torch.where(joined, high_0, high_1)
    return torch.stack([torch.stack([low_0, low_1], -1), torch.stack([high_0, high_1], -1)], dim=-1)


def intersection(first: Tensor, second: Tensor, num_keys: int) -> Tensor:
    """Intervals of what both show, ``(B or 1, Sq, K, 2)`` with K = 2 if either has K = 2.

    Two with two may come to three, which no row can hold: an :class:`InputError` on the CPU, a device-side assertion
    elsewhere and in compiled code.
    """
    if first.shape[2] == 2 and second.shape[2] == 2:
        # In order and apart, so that the pieces below are apart as well and cannot be merged any further.
        first, second = normalized(first, num_keys), normalized(second, num_keys)
    # Every interval of the one with every one of the other: (B, Sq, Ka, Kb).
    low = torch.maximum(first[:, :, :, None, 0], second[:, :, None, :, 0])
    high = torch.minimum(first[:, :, :, None, 1], second[:, :, None, :, 1])
    low, high = low.flatten(2), torch.maximum(low, high).flatten(2)
    if low.shape[2] <= 2:
        return torch.stack([low, high], dim=-1)

    # Four pieces: (0, 0), (0, 1), (1, 0), (1, 1). Of the middle two at most one is there, for if the first interval
    # here reaches into the second there, the second here begins after the first there has ended. So: three in order.
    pieces = torch.stack([low, high], dim=-1)
    exists = low < high
    left, middle, right = (
        pieces[:, :, 0],
        torch.where(exists[..., 1:2], pieces[:, :, 1], pieces[:, :, 2]),
        pieces[:, :, 3],
    )
    has_left, has_middle, has_right = exists[..., :1], exists[..., 1:2] | exists[..., 2:3], exists[..., 3:]
    three = (has_left & has_middle & has_right).squeeze(-1)
    if torch.compiler.is_compiling() or three.device.type != "cpu":
        torch._assert_async(~three.any(), "the intersection of two interval masks needs three intervals in a row")
    elif bool(three.any()):
        batch, row = (int(index) for index in three.nonzero()[0])
        raise InputError(
            f"the intersection needs three intervals in row {row} of sample {batch}: an IntervalMask has at most two "
            f"(intervals of shapes {tuple(first.shape)} and {tuple(second.shape)})"
        )
    kept = torch.stack([torch.where(has_left, left, middle), torch.where(has_left & has_middle, middle, right)], dim=2)
    return normalized(kept, num_keys)


def tile_classes(intervals: Tensor, num_keys: int, tile_queries: int, tile_keys: int) -> Tensor:
    """0 skipped, 1 partly visible, 2 fully visible: ``(B or 1, query tiles, key tiles)`` uint8."""
    if tile_queries < 1 or tile_keys < 1:
        raise InputError(f"tiles must have at least one row and one column, got {tile_queries} x {tile_keys}")
    intervals = normalized(intervals, num_keys)
    batch, num_queries = intervals.shape[:2]
    begin = torch.arange(0, num_keys, tile_keys, device=intervals.device, dtype=torch.int32)
    end = (begin + tile_keys).clamp(max=num_keys)
    low, high = intervals[..., 0].unsqueeze(-1), intervals[..., 1].unsqueeze(-1)  # (B, Sq, K, 1)
    seen = (torch.minimum(high, end) - torch.maximum(low, begin)).clamp(min=0).sum(2)  # (B, Sq, key tiles)
    row_tiles = -(-num_queries // tile_queries)
    spare = row_tiles * tile_queries - num_queries
    seen = torch.nn.functional.pad(seen, (0, 0, 0, spare)).view(batch, row_tiles, tile_queries, begin.shape[0]).sum(2)
    first_row = torch.arange(0, num_queries, tile_queries, device=intervals.device)
    rows = (first_row + tile_queries).clamp(max=num_queries) - first_row
    whole = rows.unsqueeze(1) * (end - begin)
    return ((seen > 0).to(torch.uint8) + (seen == whole).to(torch.uint8)).to(torch.uint8)
