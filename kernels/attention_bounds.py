"""What the attention kernels need to know of a mask, derived on the device once a mask in O(S) memory.

Two tables of int32, for blocks of 64 query rows and of 64 keys. They depend on the intervals alone, not on tile shapes,
dtypes or head dimensions, so that one pair serves every kernel and every layer.

``rows (B or 1, row blocks, K, 4)``: for slot k of the rows' intervals in order, ``hull_low, hull_high`` (every key that
a row of the block sees through this slot lies between them) and ``core_low, core_high`` (every row of the block sees
every key between them), in keys.

``columns (B or 1, key blocks, K, 4)``: the same with the roles exchanged, in row blocks: between ``hull`` lie all row
blocks with a row that sees a key of this block through slot k; every row of the blocks between ``core`` sees the whole
key block, and these blocks hold no row past the end.

An empty hull has ``low >= high``, an empty core likewise.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gptface.kernels.attention_device import BOUND_BLOCK

__all__ = ["column_bounds_kernel", "row_bounds_kernel"]


@triton.jit
def _store_slot(pointers, hull_low, hull_high, core_low, core_high):  # type: ignore[no-untyped-def]
    tl.store(pointers, hull_low)
    tl.store(pointers + 1, hull_high)
    tl.store(pointers + 2, core_low)
    tl.store(pointers + 3, core_high)


@triton.jit
def _reduce_slot(pointers, low, high, valid, num_keys):  # type: ignore[no-untyped-def]
    sees = valid & (low < high)
    _store_slot(
        pointers,
        tl.min(tl.where(sees, low, num_keys), 0),
        tl.max(tl.where(sees, high, 0), 0),
        tl.max(tl.where(valid, low, 0), 0),
        tl.min(tl.where(valid, high, num_keys), 0),
    )


@triton.jit(do_not_specialize=["num_queries", "num_keys", "row_blocks"])
def row_bounds_kernel(
    intervals: tl.tensor,  # (B, Sq, K, 2)
    rows: tl.tensor,  # (B, row blocks, K, 4)
    num_queries: tl.int32,
    num_keys: tl.int32,
    row_blocks: tl.int32,
    K: tl.constexpr,
) -> None:
    """One program a row block: intervals put in order, then four reductions a slot."""
    program = tl.program_id(0)
    batch, block = program // row_blocks, program % row_blocks
    queries = block * BOUND_BLOCK + tl.arange(0, BOUND_BLOCK)
    valid = queries < num_queries
    pointers = intervals + batch.to(tl.int64) * num_queries * (2 * K) + queries * (2 * K)
    low_0 = tl.minimum(tl.maximum(tl.load(pointers, mask=valid, other=0), 0), num_keys)
    high_0 = tl.minimum(tl.maximum(tl.load(pointers + 1, mask=valid, other=0), low_0), num_keys)
    table = rows + program.to(tl.int64) * (4 * K)
    if K == 2:
        low_1 = tl.minimum(tl.maximum(tl.load(pointers + 2, mask=valid, other=0), 0), num_keys)
        high_1 = tl.minimum(tl.maximum(tl.load(pointers + 3, mask=valid, other=0), low_1), num_keys)
        # As gptface.ops.attention.interval_algebra.normalized: by start, empty ones last, touching ones joined.
        swap = tl.where(low_1 < high_1, low_1, num_keys) < tl.where(low_0 < high_0, low_0, num_keys)
        low_0, low_1 = tl.where(swap, low_1, low_0), tl.where(swap, low_0, low_1)
        high_0, high_1 = tl.where(swap, high_1, high_0), tl.where(swap, high_0, high_1)
        exists = low_1 < high_1
        apart = exists & (low_1 > high_0)
        high_0 = tl.where(exists & (low_1 <= high_0), tl.maximum(high_0, high_1), high_0)
        low_1, high_1 = tl.where(apart, low_1, high_0), tl.where(apart, high_1, high_0)
        _reduce_slot(table + 4, low_1, high_1, valid, num_keys)
    _reduce_slot(table, low_0, high_0, valid, num_keys)


@triton.jit
def _load_slot(table, blocks, row_blocks, num_keys, K: tl.constexpr, SLOT: tl.constexpr):  # type: ignore[no-untyped-def]
    exists = blocks < row_blocks
    pointers = table + (blocks * K + SLOT) * 4
    hull_low = tl.load(pointers, mask=exists, other=0)
    hull_high = tl.load(pointers + 1, mask=exists, other=0)
    core_low = tl.load(pointers + 2, mask=exists, other=0)
    core_high = tl.load(pointers + 3, mask=exists, other=0)
    return hull_low, hull_high, core_low, core_high


@triton.jit
def _covered(table, blocks, row_blocks, complete, num_keys, low, high, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """Whether every row of a block sees every key in ``[low, high)``; blocks with rows past the end do not count."""
    _, _, core_low, core_high = _load_slot(table, blocks, row_blocks, num_keys, K, 0)
    covered = (core_low <= low) & (core_high >= high)
    if K == 2:
        _, _, core_low, core_high = _load_slot(table, blocks, row_blocks, num_keys, K, 1)
        covered = covered | ((core_low <= low) & (core_high >= high))
    return covered & (blocks < complete)


@triton.jit(do_not_specialize=["num_queries", "num_keys", "row_blocks", "key_blocks"])
def column_bounds_kernel(
    rows: tl.tensor,  # (B, row blocks, K, 4)
    columns: tl.tensor,  # (B, key blocks, K, 4)
    num_queries: tl.int32,
    num_keys: tl.int32,
    row_blocks: tl.int32,
    key_blocks: tl.int32,
    K: tl.constexpr,
    CHUNK: tl.constexpr,
) -> None:
    """One program a key block; it scans the row blocks' bounds, CHUNK at a time, and never the rows."""
    program = tl.program_id(0)
    batch, block = program // key_blocks, program % key_blocks
    low = block * BOUND_BLOCK
    high = tl.minimum(low + BOUND_BLOCK, num_keys)
    complete = num_queries // BOUND_BLOCK
    table = rows + batch.to(tl.int64) * row_blocks * (4 * K)
    for SLOT in tl.static_range(K):
        start, end = row_blocks, row_blocks * 0
        for first in range(0, row_blocks, CHUNK):
            blocks = first + tl.arange(0, CHUNK)
            hull_low, hull_high, _, _ = _load_slot(table, blocks, row_blocks, num_keys, K, SLOT)
            touches = (hull_low < high) & (hull_high > low)
            start = tl.minimum(start, tl.min(tl.where(touches, blocks, row_blocks), 0))
            end = tl.maximum(end, tl.max(tl.where(touches, blocks + 1, 0), 0))
        # The first run of covering blocks in the hull. Masks with several runs lose speed in the others, not results.
        full_start = row_blocks
        for first in range(0, row_blocks, CHUNK):
            blocks = first + tl.arange(0, CHUNK)
            covered = _covered(table, blocks, row_blocks, complete, num_keys, low, high, K)
            found = covered & (blocks >= start) & (blocks < end)
            full_start = tl.minimum(full_start, tl.min(tl.where(found, blocks, row_blocks), 0))
        full_end = end
        for first in range(0, row_blocks, CHUNK):
            blocks = first + tl.arange(0, CHUNK)
            covered = _covered(table, blocks, row_blocks, complete, num_keys, low, high, K)
            found = (covered == 0) & (blocks >= full_start)
            full_end = tl.minimum(full_end, tl.min(tl.where(found, blocks, row_blocks), 0))
        full_end = tl.maximum(full_start, full_end)
        _store_slot(columns + program.to(tl.int64) * (4 * K) + SLOT * 4, start, end, full_start, full_end)
