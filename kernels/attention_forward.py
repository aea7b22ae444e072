"""Forward attention over interval masks: one program a tile of packed rows of one key head.

Online softmax in float32 (Milakov and Gimelshein, arXiv 1805.02867; tiled as in Dao et al., arXiv
2205.14135). Tiles that hide nothing come first, in a loop without mask arithmetic; then those that hide something.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gptface.kernels.attention_containment import contained_product_added, holds_nan
from gptface.kernels.attention_device import (
    BOUND_BLOCK,
    dropout_keep,
    exponential,
    first_row_of_program,
    full_tile,
    head_base,
    load_intervals,
    load_tile,
    local_offsets,
    merged_segments,
    negated,
    packed_offsets,
    packed_rows,
    partial_tile,
    product,
    product_added,
    read_bounds,
    result_rows,
    rounded,
    row_pointer,
    store_tile,
    tile_base,
    tile_range,
    visible,
)

__all__ = ["forward_kernel", "key_segments"]

LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def key_segments(  # type: ignore[no-untyped-def]
    rows, batch, first_row, num_queries, num_keys, K: tl.constexpr, BATCHED: tl.constexpr, GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The key tiles that packed rows ``first_row`` to ``first_row + BLOCK_M - 1`` visit: two disjoint segments."""
    s1, f1, g1, e1 = num_keys * 0, num_keys * 0, num_keys * 0, num_keys * 0
    if K == 0:
        s0, f0, g0, e0 = tile_range(0, num_keys, 0, num_keys, BLOCK_N)
    else:
        row_blocks = tl.cdiv(num_queries, BOUND_BLOCK)
        if BATCHED:
            rows += batch.to(tl.int64) * row_blocks * (4 * K)
        first = first_row // GROUP // BOUND_BLOCK
        last = tl.minimum((first_row + BLOCK_M - 1) // GROUP // BOUND_BLOCK, row_blocks - 1)
        hull_low, hull_high, core_low, core_high = read_bounds(rows, first, last, K, 0)
        s0, f0, g0, e0 = tile_range(hull_low, hull_high, core_low, core_high, BLOCK_N)
        if K == 2:
            hull_low, hull_high, core_low, core_high = read_bounds(rows, first, last, K, 1)
            s1, f1, g1, e1 = tile_range(hull_low, hull_high, core_low, core_high, BLOCK_N)
            s0, f0, g0, e0, s1, f1, g1, e1 = merged_segments(s0, f0, g0, e0, s1, f1, g1, e1)
    return s0, f0, g0, e0, s1, f1, g1, e1


@triton.jit(
    do_not_specialize=[
        "query_stride_b", "query_stride_s", "query_stride_h", "key_stride_b", "key_stride_s", "key_stride_h",
        "value_stride_b", "value_stride_s", "value_stride_h", "num_queries", "num_keys", "key_heads",
        "tile_by_tile", "dropout_threshold",
    ]
)  # fmt: skip
def forward_kernel(
    query: tl.tensor,  # (B, Sq, H, D)
    key: tl.tensor,  # (B, Skv, Hkv, D)
    value: tl.tensor,
    out: tl.tensor,  # (B, Sq, H, D) contiguous
    lse: tl.tensor,  # (B, H, Sq) contiguous, float32, natural logarithm
    row_top: tl.tensor,  # (B, H, Sq): a row's largest score, and one over its sum of powers; written without BASE_2
    row_inverse: tl.tensor,
    intervals: tl.tensor,  # (B or 1, Sq, K, 2) contiguous int32
    rows: tl.tensor,  # the row table of attention_bounds
    seed: tl.tensor,  # one int64; read with DROPOUT only
    query_stride_b: tl.int64,  # strides in units of UNIT elements
    query_stride_s: tl.int64,
    query_stride_h: tl.int64,
    key_stride_b: tl.int64,
    key_stride_s: tl.int64,
    key_stride_h: tl.int64,
    value_stride_b: tl.int64,
    value_stride_s: tl.int64,
    value_stride_h: tl.int64,
    num_queries: tl.int32,
    num_keys: tl.int32,
    key_heads: tl.int32,
    tile_by_tile: tl.int32,  # 1: in this order through the heads, 0: head by head
    score_scale: tl.float32,  # |scale|, times log2(e) with BASE_2; positive
    keep_probability: tl.float32,  # 1 − p
    dropout_threshold: tl.uint32,
    GROUP: tl.constexpr,  # query heads a key head
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,  # the power of two from HEAD_DIM upward
    K: tl.constexpr,  # intervals a row; 0 where nothing is hidden
    BATCHED: tl.constexpr,  # the mask has a pattern for each sample
    DROPOUT: tl.constexpr,
    FLIP: tl.constexpr,  # the scale is negative: queries change sign on the way in
    UNIT: tl.constexpr,
    WIDE: tl.constexpr,
    BASE_2: tl.constexpr,  # powers of 2 rather than of e
    PRECISION: tl.constexpr,  # of products: "ieee" for float32
    REPAIR: tl.constexpr,  # the second pass of attention_containment
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    first_row, batch, key_head = first_row_of_program(num_queries, key_heads, tile_by_tile, GROUP, BLOCK_M)
    batch_64 = batch.to(tl.int64)
    first_query, queries, heads = packed_rows(first_row, tl.arange(0, BLOCK_M), GROUP)
    valid = queries < num_queries
    if REPAIR:
        sample, own_head = batch_64 * num_queries * key_heads * GROUP, key_head * GROUP + heads
        stored, places = result_rows(
            out, sample, first_query, queries, own_head, key_heads, GROUP, HEAD_DIM, WIDE
        )
        if not holds_nan(stored, places, valid, HEAD_DIM, BLOCK_D):
            return
    first_head = key_head * GROUP
    query = row_pointer(query, batch, first_query, first_head, query_stride_b, query_stride_s, query_stride_h, UNIT)
    key = head_base(key, batch, key_head, key_stride_b, key_stride_h, UNIT)
    value = head_base(value, batch, key_head, value_stride_b, value_stride_h, UNIT)
    query_offsets = packed_offsets(queries, heads, first_query, query_stride_s, query_stride_h, UNIT, WIDE)
    tile_keys = tl.arange(0, BLOCK_N)
    key_offsets = local_offsets(tile_keys, key_stride_s, UNIT, WIDE)
    value_offsets = local_offsets(tile_keys, value_stride_s, UNIT, WIDE)

    q = load_tile(query, query_offsets, valid, HEAD_DIM, BLOCK_D, True)
    if FLIP:
        q = negated(q)
    accumulator = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    top = tl.full([BLOCK_M], -float("inf"), dtype=tl.float32)
    seed_value = tl.zeros([], dtype=tl.int64)
    if DROPOUT:
        seed_value = tl.load(seed)

    s0, f0, g0, e0, s1, f1, g1, e1 = key_segments(
        rows, batch, first_row, num_queries, num_keys, K, BATCHED, GROUP, BLOCK_M, BLOCK_N
    )
    full = g0 - f0 + g1 - f1
    for t in range(full):
        first_key = full_tile(t, f0, g0, f1, K) * BLOCK_N
        k = load_tile(tile_base(key, first_key, key_stride_s, UNIT), key_offsets, tile_keys, HEAD_DIM, BLOCK_D, False)
        scores = product(q, tl.trans(k), PRECISION)
        new_top = tl.maximum(top, tl.max(scores, 1) * score_scale)
        weights = exponential(scores * score_scale - new_top[:, None], BASE_2)
        shrink = exponential(top - new_top, BASE_2)
        top = new_top
        total = total * shrink + tl.sum(weights, 1)
        accumulator = accumulator * shrink[:, None]
        if DROPOUT:
            head = key_head * GROUP + heads
            keep = dropout_keep(seed_value, batch, head, queries, first_key, dropout_threshold, BLOCK_M, BLOCK_N)
            weights = tl.where(keep, weights, 0.0)
        values = tile_base(value, first_key, value_stride_s, UNIT)
        v = load_tile(values, value_offsets, tile_keys, HEAD_DIM, BLOCK_D, False)
        accumulator = product_added(rounded(weights, v.dtype, PRECISION), v, accumulator, PRECISION)

    if BATCHED:
        intervals += batch_64 * num_queries * (2 * K)
    low_0, length_0, low_1, length_1 = load_intervals(intervals, queries, num_queries, num_keys, K)
    for t in range(e0 - s0 + e1 - s1 - full):
        first_key = partial_tile(t, s0, f0, g0, e0, s1, f1, g1, K) * BLOCK_N
        keys = first_key + tile_keys
        exists = keys < num_keys
        k = load_tile(tile_base(key, first_key, key_stride_s, UNIT), key_offsets, exists, HEAD_DIM, BLOCK_D, True)
        scores = product(q, tl.trans(k), PRECISION)
        seen = visible(keys[None, :], low_0[:, None], length_0[:, None], low_1[:, None], length_1[:, None], K)
        scores = tl.where(seen, scores, -float("inf"))
        new_top = tl.maximum(top, tl.max(scores, 1) * score_scale)
        # A row that has seen nothing so far has no maximum to subtract.
        shift = tl.where(new_top == -float("inf"), 0.0, new_top)
        weights = exponential(scores * score_scale - shift[:, None], BASE_2)
        shrink = exponential(top - shift, BASE_2)
        top = new_top
        total = total * shrink + tl.sum(weights, 1)
        accumulator = accumulator * shrink[:, None]
        if DROPOUT:
            head = key_head * GROUP + heads
            keep = dropout_keep(seed_value, batch, head, queries, first_key, dropout_threshold, BLOCK_M, BLOCK_N)
            weights = tl.where(keep, weights, 0.0)
        values = tile_base(value, first_key, value_stride_s, UNIT)
        v = load_tile(values, value_offsets, exists, HEAD_DIM, BLOCK_D, True)
        weights = rounded(weights, v.dtype, PRECISION)
        if REPAIR:
            accumulator = contained_product_added(weights, v, seen, accumulator, BLOCK_N, PRECISION)
        else:
            accumulator = product_added(weights, v, accumulator, PRECISION)

    nothing = total == 0.0
    divisor = tl.where(nothing, 1.0, total)  # of an accumulator that is zero where there is nothing
    logarithm = tl.log(divisor)
    if DROPOUT:
        divisor = divisor * keep_probability
    head = key_head * GROUP + heads
    row_64 = batch_64 * num_queries * key_heads * GROUP
    out, out_offsets = result_rows(out, row_64, first_query, queries, head, key_heads, GROUP, HEAD_DIM, WIDE)
    store_tile(out, out_offsets, valid, accumulator / divisor[:, None], HEAD_DIM, BLOCK_D, PRECISION)
    statistics = row_64 + head.to(tl.int64) * num_queries + queries
    if BASE_2:
        top = top * LN_2
    else:
        # The log-sum-exp is rounded, and so would be every weight of the row that gradients take from it.
        tl.store(row_top + statistics, tl.where(nothing, float("inf"), top), mask=valid)
        tl.store(row_inverse + statistics, tl.where(nothing, 0.0, 1.0 / tl.where(nothing, 1.0, total)), mask=valid)
    tl.store(lse + statistics, tl.where(nothing, -float("inf"), top + logarithm), mask=valid)
