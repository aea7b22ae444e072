"""Device functions that the attention kernels share: packed rows, tile ranges, visibility, dropout, loads.

Packed rows. The query heads of one key head are folded into the row dimension: packed row ``r`` is query ``r // GROUP``
of the group's head ``r % GROUP``. A tile of BLOCK_M packed rows thus reads every key once for all heads of the group,
and a short sequence with grouped heads fills a tile. Without grouped heads GROUP is 1 and a packed row is a query.

Tile ranges. What a tile of rows has to visit is at most two ranges of key tiles ("segments", one for each interval of a
row), each with one run of tiles that hide nothing ("full"); the kernels visit the full tiles in a loop without mask
arithmetic and the others in a second one. The ranges come from ``attention_bounds``, and hold with rows and keys
exchanged for the gradients of keys and values.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "BOUND_BLOCK",
    "LOG2_E",
    "dropout_keep",
    "exponential",
    "first_row_of_program",
    "full_tile",
    "head_and_tile",
    "head_base",
    "load_intervals",
    "load_tile",
    "local_offsets",
    "merged_segments",
    "negated",
    "packed_offsets",
    "packed_rows",
    "partial_tile",
    "product",
    "product_added",
    "read_bounds",
    "result_rows",
    "rounded",
    "row_pointer",
    "row_statistics",
    "softmax_weights",
    "store_tile",
    "tile_base",
    "tile_range",
    "visible",
]

# Rows and keys of the blocks for which attention_bounds keeps bounds; no tile needs to be a multiple of it.
BOUND_BLOCK = tl.constexpr(64)
LOG2_E = tl.constexpr(1.4426950408889634)


# --- packed rows ------------------------------------------------------------------------------------------------------


@triton.jit
def first_row_of_program(num_queries, key_heads, tile_by_tile, GROUP: tl.constexpr, BLOCK_M: tl.constexpr):  # type: ignore[no-untyped-def]
    """``(first_row, batch, key_head)`` of a program that has a tile of packed rows.

    The last rows come first: under a causal mask they are the heavy ones.
    """
    row_tiles = tl.cdiv(num_queries * GROUP, BLOCK_M)
    head, tile = head_and_tile(row_tiles, tile_by_tile)
    return (row_tiles - 1 - tile) * BLOCK_M, head // key_heads, head % key_heads


@triton.jit
def head_and_tile(tiles, tile_by_tile):  # type: ignore[no-untyped-def]
    """Which key head of all samples, and which of its ``tiles``, a program has; both count from 0.

    Head by head, the programs of a key head are neighbours and share what they read in the L2 cache. Tile by tile they
    go through the first tiles of all heads, then through the second ones, and so on: where the tiles in front are the
    heavy ones every heavy program begins before any light one, and the light ones fill up the last wave.
    """
    program = tl.program_id(0)
    run = tl.where(tile_by_tile != 0, tl.num_programs(0) // tiles, tiles)
    place, turn = program % run, program // run
    return tl.where(tile_by_tile != 0, place, turn), tl.where(tile_by_tile != 0, turn, place)


@triton.jit
def packed_rows(first_row, tile_rows, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    """``(first_query, queries, heads)`` of rows ``first_row + tile_rows``; ``heads`` count within the group.

    ``tile_rows`` is ``tl.arange(0, BLOCK_M)``: made outside of a loop it costs no registers inside.
    """
    packed = first_row + tile_rows
    return first_row // GROUP, packed // GROUP, packed % GROUP


@triton.jit
def packed_offsets(queries, heads, first_query, stride_s, stride_h, UNIT: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where packed rows are, from query ``first_query`` of the group's first head."""
    return local_offsets(queries - first_query, stride_s, UNIT, WIDE) + local_offsets(heads, stride_h, UNIT, WIDE)


@triton.jit
def result_rows(  # type: ignore[no-untyped-def]
    tensor, sample, first_query, queries, head, key_heads, GROUP: tl.constexpr, HEAD_DIM: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """``(base, offsets)`` of packed rows in a contiguous ``(B, Sq, H, D)`` tensor; ``sample`` is ``batch · Sq · H``."""
    base = tensor + (sample + first_query.to(tl.int64) * key_heads * GROUP) * HEAD_DIM
    offsets = local_offsets(queries - first_query, key_heads * (GROUP * HEAD_DIM), 1, WIDE) + head * HEAD_DIM
    return base, offsets


# --- ranges of tiles --------------------------------------------------------------------------------------------------


@triton.jit
def tile_range(hull_low, hull_high, core_low, core_high, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Tiles that overlap ``[hull_low, hull_high)``, and the run of them inside ``[core_low, core_high)``.

    Returns ``start <= full_start <= full_end <= end``; a range without full tiles has both ends at ``end``.
    """
    some = hull_low < hull_high
    start = tl.where(some, hull_low // BLOCK, 0)
    end = tl.where(some, tl.cdiv(hull_high, BLOCK), 0)
    full_start, full_end = tl.cdiv(core_low, BLOCK), core_high // BLOCK
    has_full = full_start < full_end
    return start, tl.where(has_full, full_start, end), tl.where(has_full, full_end, end), end


@triton.jit
def merged_segments(s0, f0, g0, e0, s1, f1, g1, e1):  # type: ignore[no-untyped-def]
    """Two ranges ``(start, full_start, full_end, end)`` made disjoint: one range (and an empty one) if they overlap."""
    overlap = (s1 < e0) & (s0 < e1)
    second_longer = (g1 - f1) > (g0 - f0)
    f0, g0 = tl.where(overlap & second_longer, f1, f0), tl.where(overlap & second_longer, g1, g0)
    s0, e0 = tl.where(overlap, tl.minimum(s0, s1), s0), tl.where(overlap, tl.maximum(e0, e1), e0)
    return (
        s0, f0, g0, e0,
        tl.where(overlap, 0, s1), tl.where(overlap, 0, f1), tl.where(overlap, 0, g1), tl.where(overlap, 0, e1),
    )  # fmt: skip


@triton.jit
def full_tile(t, f0, g0, f1, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """The t-th full tile of both segments."""
    tile = f0 + t
    if K == 2:
        tile = tl.where(t < g0 - f0, tile, f1 + t - (g0 - f0))
    return tile


@triton.jit
def partial_tile(t, s0, f0, g0, e0, s1, f1, g1, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """The t-th tile of both segments that is not full."""
    first = f0 - s0
    tile = tl.where(t < first, s0 + t, g0 + t - first)
    if K == 2:
        second = first + e0 - g0
        third = second + f1 - s1
        tile = tl.where(t < second, tile, tl.where(t < third, s1 + t - second, g1 + t - third))
    return tile


@triton.jit
def read_bounds(bounds, first_block, last_block, K: tl.constexpr, SLOT: tl.constexpr):  # type: ignore[no-untyped-def]
    """Hull and core of slot SLOT over two blocks of a ``(blocks, K, 4)`` table: the hulls' union, the cores' meet."""
    first = bounds + (first_block * K + SLOT) * 4
    last = bounds + (last_block * K + SLOT) * 4
    hull_low = tl.minimum(tl.load(first), tl.load(last))
    hull_high = tl.maximum(tl.load(first + 1), tl.load(last + 1))
    core_low = tl.maximum(tl.load(first + 2), tl.load(last + 2))
    core_high = tl.minimum(tl.load(first + 3), tl.load(last + 3))
    return hull_low, hull_high, core_low, core_high


# --- what is visible, and what dropout keeps --------------------------------------------------------------------------


@triton.jit
def load_intervals(intervals, queries, num_queries, num_keys, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """Start and length of the intervals of each row, cut at ``num_keys``; nothing is visible to rows past the end."""
    low_0 = tl.zeros_like(queries)
    length_0 = low_0 + num_keys
    low_1, length_1 = low_0, low_0
    if K > 0:
        valid = queries < num_queries
        pointers = intervals + queries * (2 * K)
        low_0, length_0 = _load_interval(pointers, valid, num_keys)
        if K == 2:
            low_1, length_1 = _load_interval(pointers + 2, valid, num_keys)
    return low_0, length_0, low_1, length_1


@triton.jit
def _load_interval(pointers, valid, num_keys):  # type: ignore[no-untyped-def]
    low = tl.load(pointers, mask=valid, other=0)
    high = tl.minimum(tl.load(pointers + 1, mask=valid, other=0), num_keys)
    return low, tl.maximum(low, high) - low


@triton.jit
def visible(keys, low_0, length_0, low_1, length_1, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """The mask's definition; the arguments broadcast. ``keys`` are not negative.

    ``low <= key < low + length`` is one comparison of unsigned numbers: a key before ``low`` wraps round.
    """
    if K == 0:
        seen = keys < length_0
    else:
        seen = (keys - low_0).to(tl.uint32) < length_0.to(tl.uint32)
        if K == 2:
            seen = seen | ((keys - low_1).to(tl.uint32) < length_1.to(tl.uint32))
    return seen


@triton.jit
def dropout_keep(seed, batch, heads, queries, first_key, threshold, ROWS: tl.constexpr, KEYS: tl.constexpr):  # type: ignore[no-untyped-def]
    """``(ROWS, KEYS)`` bool: what ``gptface.ops.attention.reference.dropout_keep`` defines, one block for four keys.

    ``heads`` and ``queries`` are ``(ROWS,)``; ``first_key`` is a multiple of four.
    """
    zero = tl.zeros([ROWS, KEYS // 4], dtype=tl.int32)
    groups = first_key // 4 + tl.arange(0, KEYS // 4)
    word_0, word_1, word_2, word_3 = tl.philox(
        seed, groups[None, :] + zero, queries[:, None] + zero, heads[:, None] + zero, batch + zero
    )
    even = tl.interleave((word_0 >= threshold).to(tl.int8), (word_2 >= threshold).to(tl.int8))
    odd = tl.interleave((word_1 >= threshold).to(tl.int8), (word_3 >= threshold).to(tl.int8))
    return tl.interleave(even, odd) != 0


# --- memory -----------------------------------------------------------------------------------------------------------


@triton.jit
def local_offsets(indices, stride, UNIT: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Element offsets of rows within a tile. 32 bits unless the launcher found a stride too wide for them (WIDE).

    Strides come in units of UNIT elements, so that the compiler knows what they are multiples of.
    """
    if WIDE:
        offsets = indices.to(tl.int64) * (stride * UNIT)
    else:
        offsets = indices * (stride.to(tl.int32) * UNIT)
    return offsets


@triton.jit
def head_base(tensor, batch, head, stride_b, stride_h, UNIT: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where a head of a sample begins, in 64 bits."""
    return tensor + UNIT * (batch.to(tl.int64) * stride_b + head.to(tl.int64) * stride_h)


@triton.jit
def row_pointer(tensor, batch, row, head, stride_b, stride_s, stride_h, UNIT: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where a row of a head of a sample begins, in 64 bits."""
    return tensor + UNIT * (batch.to(tl.int64) * stride_b + row.to(tl.int64) * stride_s + head.to(tl.int64) * stride_h)


@triton.jit
def tile_base(base, first, stride, UNIT: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where row ``first`` begins, in 64 bits."""
    return base + first.to(tl.int64) * stride * UNIT


@triton.jit
def load_tile(base, offsets, valid, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BOUNDED: tl.constexpr):  # type: ignore[no-untyped-def]
    """``(rows, BLOCK_D)`` from rows at ``offsets``; zeros past HEAD_DIM and, if BOUNDED, in rows that are not valid."""
    dims = tl.arange(0, BLOCK_D)
    pointers = base + offsets[:, None] + dims[None, :]
    if BOUNDED and HEAD_DIM != BLOCK_D:
        tile = tl.load(pointers, mask=valid[:, None] & (dims < HEAD_DIM)[None, :], other=0.0)
    elif BOUNDED:
        tile = tl.load(pointers, mask=valid[:, None], other=0.0)
    elif HEAD_DIM != BLOCK_D:
        tile = tl.load(pointers, mask=(dims < HEAD_DIM)[None, :], other=0.0)
    else:
        tile = tl.load(pointers)
    return tile


@triton.jit
def store_tile(  # type: ignore[no-untyped-def]
    base, offsets, valid, tile, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr
):
    """Round ``tile`` to the dtype of ``base`` and write its valid rows."""
    dims = tl.arange(0, BLOCK_D)
    pointers = base + offsets[:, None] + dims[None, :]
    tl.store(
        pointers, rounded(tile, base.dtype.element_ty, PRECISION), mask=valid[:, None] & (dims < HEAD_DIM)[None, :]
    )


# --- arithmetic -------------------------------------------------------------------------------------------------------


@triton.jit
def rounded(tile, dtype: tl.constexpr, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """float32 to ``dtype``, to the nearest. The interpreter would cut bfloat16 off, so there ("widened") by hand."""
    if PRECISION == "widened" and dtype == tl.bfloat16:
        bits = tile.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        tile = bits.to(tl.float32, bitcast=True)
    return tile.to(dtype)


@triton.jit
def negated(tile):  # type: ignore[no-untyped-def]
    """``-tile``, by way of float32, which holds every 16-bit number: the interpreter would negate bit patterns."""
    return (-tile.to(tl.float32)).to(tile.dtype)


@triton.jit
def exponential(tile, BASE_2: tl.constexpr):  # type: ignore[no-untyped-def]
    """2 or e to the power of ``tile``.

    Base 2 saves a multiplication an element, and costs float32 part of a digit: scores are rounded once more before
    what is subtracted from them.
    """
    if BASE_2:
        tile = tl.exp2(tile)
    else:
        tile = tl.exp(tile)
    return tile


@triton.jit
def row_statistics(lse, row_top, row_inverse, rows, valid, BASE_2: tl.constexpr):  # type: ignore[no-untyped-def]
    """What makes weights of scores: a shift and, without BASE_2, a factor.

    The shift is +inf, which makes every weight zero, for rows that see nothing or do not exist.
    """
    if BASE_2:
        shift = tl.load(lse + rows, mask=valid, other=float("inf"))
        shift = tl.where(shift == -float("inf"), float("inf"), shift * LOG2_E)
        factor = shift
    else:
        shift = tl.load(row_top + rows, mask=valid, other=float("inf"))
        factor = tl.load(row_inverse + rows, mask=valid, other=0.0)
    return shift, factor


@triton.jit
def softmax_weights(scores, score_scale, shift, factor, BASE_2: tl.constexpr):  # type: ignore[no-untyped-def]
    """Weights from scores and what forward kept of their rows."""
    weights = exponential(scores * score_scale - shift, BASE_2)
    if not BASE_2:
        weights = weights * factor
    return weights


@triton.jit
def product_added(left, right, total, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """``total + left @ right`` with sums in float32.

    PRECISION is that of float32 operands, or "widened": 16-bit operands become float32 first, which has the same
    products. The interpreter needs it, which multiplies the bit patterns of bfloat16.
    """
    if PRECISION == "widened":
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
    else:
        total = tl.dot(left, right, total, input_precision=PRECISION)
    return total


@triton.jit
def product(left, right, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """``left @ right``, as :func:`product_added`."""
    if PRECISION == "widened":
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), input_precision="ieee")
    else:
        total = tl.dot(left, right, input_precision=PRECISION)
    return total
