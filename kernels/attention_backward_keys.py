"""Gradients of keys and values, after ``attention_backward``: a program has a tile of keys and visits packed rows.

So the heads of a group add up in its accumulators, and no two programs write the same element. Its loops spell out the
addresses of packed rows: with ``packed_offsets`` and ``tile_base`` the compiler spills on sm_100.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gptface.kernels.attention_containment import contained_product_added, holds_nan
from gptface.kernels.attention_device import (
    BOUND_BLOCK,
    dropout_keep,
    full_tile,
    head_and_tile,
    load_intervals,
    load_tile,
    local_offsets,
    merged_segments,
    negated,
    partial_tile,
    product,
    product_added,
    read_bounds,
    rounded,
    softmax_weights,
    store_tile,
    tile_range,
    visible,
)

__all__ = ["grad_key_value_kernel"]


@triton.jit
def _row_segments(  # type: ignore[no-untyped-def]
    columns, batch, first_key, num_queries, num_keys, K: tl.constexpr, BATCHED: tl.constexpr, GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The tiles of packed rows that keys ``first_key`` to ``first_key + BLOCK_N - 1`` are seen from: two segments."""
    packed = num_queries * GROUP
    s1, f1, g1, e1 = num_keys * 0, num_keys * 0, num_keys * 0, num_keys * 0
    if K == 0:
        s0, f0, g0, e0 = tile_range(0, packed, 0, packed, BLOCK_M)
    else:
        unit: tl.constexpr = BOUND_BLOCK * GROUP  # packed rows of a row block
        key_blocks = tl.cdiv(num_keys, BOUND_BLOCK)
        if BATCHED:
            columns += batch.to(tl.int64) * key_blocks * (4 * K)
        first = first_key // BOUND_BLOCK
        last = tl.minimum((first_key + BLOCK_N - 1) // BOUND_BLOCK, key_blocks - 1)
        start, end, full_start, full_end = read_bounds(columns, first, last, K, 0)
        end = tl.minimum(end * unit, packed)
        s0, f0, g0, e0 = tile_range(start * unit, end, full_start * unit, full_end * unit, BLOCK_M)
        if K == 2:
            start, end, full_start, full_end = read_bounds(columns, first, last, K, 1)
            end = tl.minimum(end * unit, packed)
            s1, f1, g1, e1 = tile_range(start * unit, end, full_start * unit, full_end * unit, BLOCK_M)
            s0, f0, g0, e0, s1, f1, g1, e1 = merged_segments(s0, f0, g0, e0, s1, f1, g1, e1)
    return s0, f0, g0, e0, s1, f1, g1, e1


@triton.jit(
    do_not_specialize=[
        "query_stride_b", "query_stride_s", "query_stride_h", "key_stride_b", "key_stride_s", "key_stride_h",
        "value_stride_b", "value_stride_s", "value_stride_h", "grad_stride_b", "grad_stride_s", "grad_stride_h",
        "num_queries", "num_keys", "key_heads", "tile_by_tile", "dropout_threshold",
    ]
)  # fmt: skip
def grad_key_value_kernel(
    query: tl.tensor,  # (B, Sq, H, D)
    key: tl.tensor,  # (B, Skv, Hkv, D)
    value: tl.tensor,
    grad_out: tl.tensor,  # (B, Sq, H, D)
    row_shift: tl.tensor,  # (B, H, Sq) contiguous: with BASE_2 from grad_query_kernel, else the largest score
    row_inverse: tl.tensor,  # (B, H, Sq), as forward left it; read without BASE_2
    delta: tl.tensor,  # (B, H, Sq) contiguous, from grad_query_kernel
    grad_key: tl.tensor,  # (B, Skv, Hkv, D) contiguous, written
    grad_value: tl.tensor,  # (B, Skv, Hkv, D) contiguous, written
    intervals: tl.tensor,
    columns: tl.tensor,  # the column table of attention_bounds
    seed: tl.tensor,
    query_stride_b: tl.int64,
    query_stride_s: tl.int64,
    query_stride_h: tl.int64,
    key_stride_b: tl.int64,
    key_stride_s: tl.int64,
    key_stride_h: tl.int64,
    value_stride_b: tl.int64,
    value_stride_s: tl.int64,
    value_stride_h: tl.int64,
    grad_stride_b: tl.int64,
    grad_stride_s: tl.int64,
    grad_stride_h: tl.int64,
    num_queries: tl.int32,
    num_keys: tl.int32,
    key_heads: tl.int32,
    tile_by_tile: tl.int32,
    scale: tl.float32,
    score_scale: tl.float32,
    keep_scale: tl.float32,
    dropout_threshold: tl.uint32,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    K: tl.constexpr,
    BATCHED: tl.constexpr,
    DROPOUT: tl.constexpr,
    FLIP: tl.constexpr,
    UNIT: tl.constexpr,
    WIDE: tl.constexpr,
    BASE_2: tl.constexpr,
    PRECISION: tl.constexpr,
    REPAIR: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """One program a tile of keys of one key head. Scores are held transposed, (BLOCK_N, BLOCK_M): weights and their
    gradients then stand as the products' left operand in registers.

    Keys past the end need no mask: what is computed for them goes nowhere. Rows past the end have weights zero.
    """
    own_head, tile = head_and_tile(tl.cdiv(num_keys, BLOCK_N), tile_by_tile)
    first_key = tile * BLOCK_N
    batch, key_head = own_head // key_heads, own_head % key_heads
    batch_64, key_head_64, first_key_64 = batch.to(tl.int64), key_head.to(tl.int64), first_key.to(tl.int64)

    tile_keys = tl.arange(0, BLOCK_N)
    keys = first_key + tile_keys
    exists = keys < num_keys
    if REPAIR:
        stored = ((batch_64 * num_keys + first_key_64) * key_heads + key_head_64) * HEAD_DIM
        stored_offsets = local_offsets(tile_keys, key_heads * HEAD_DIM, 1, WIDE)
        bad_key = holds_nan(grad_key + stored, stored_offsets, exists, HEAD_DIM, BLOCK_D)
        if not (bad_key | holds_nan(grad_value + stored, stored_offsets, exists, HEAD_DIM, BLOCK_D)):
            return
    tile_rows = tl.arange(0, BLOCK_M)
    query += UNIT * (batch_64 * query_stride_b + key_head_64 * GROUP * query_stride_h)
    grad_out += UNIT * (batch_64 * grad_stride_b + key_head_64 * GROUP * grad_stride_h)
    key += UNIT * (batch_64 * key_stride_b + first_key_64 * key_stride_s + key_head_64 * key_stride_h)
    value += UNIT * (batch_64 * value_stride_b + first_key_64 * value_stride_s + key_head_64 * value_stride_h)
    statistics = (batch_64 * key_heads + key_head_64) * GROUP * num_queries
    row_shift += statistics
    row_inverse += statistics
    delta += statistics

    k = load_tile(key, local_offsets(tile_keys, key_stride_s, UNIT, WIDE), exists, HEAD_DIM, BLOCK_D, True)
    v = load_tile(value, local_offsets(tile_keys, value_stride_s, UNIT, WIDE), exists, HEAD_DIM, BLOCK_D, True)
    if FLIP:
        k = negated(k)
    key_sum = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    value_sum = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    seed_value = tl.zeros([], dtype=tl.int64)
    if DROPOUT:
        seed_value = tl.load(seed)

    s0, f0, g0, e0, s1, f1, g1, e1 = _row_segments(
        columns, batch, first_key, num_queries, num_keys, K, BATCHED, GROUP, BLOCK_M, BLOCK_N
    )
    full = g0 - f0 + g1 - f1
    for t in range(full):
        first_row = full_tile(t, f0, g0, f1, K) * BLOCK_M
        first_query = first_row // GROUP
        queries, heads = (first_row + tile_rows) // GROUP, (first_row + tile_rows) % GROUP
        query_offsets = local_offsets(queries - first_query, query_stride_s, UNIT, WIDE)
        query_offsets += local_offsets(heads, query_stride_h, UNIT, WIDE)
        grad_offsets = local_offsets(queries - first_query, grad_stride_s, UNIT, WIDE)
        grad_offsets += local_offsets(heads, grad_stride_h, UNIT, WIDE)
        first_query_64 = first_query.to(tl.int64)
        q = load_tile(query + first_query_64 * query_stride_s * UNIT, query_offsets, heads, HEAD_DIM, BLOCK_D, False)
        g = load_tile(grad_out + first_query_64 * grad_stride_s * UNIT, grad_offsets, heads, HEAD_DIM, BLOCK_D, False)
        row = heads.to(tl.int64) * num_queries + queries
        # Every row of a full tile exists and sees keys: no statistics to replace.
        centre = tl.load(delta + row)
        shift = tl.load(row_shift + row)
        factor = shift
        if not BASE_2:
            factor = tl.load(row_inverse + row)
        scores = product(k, tl.trans(q), PRECISION)
        grad_weights = product(v, tl.trans(g), PRECISION)
        weights = softmax_weights(scores, score_scale, shift[None, :], factor[None, :], BASE_2)
        kept = weights
        if DROPOUT:
            head = key_head * GROUP + heads
            keep = dropout_keep(seed_value, batch, head, queries, first_key, dropout_threshold, BLOCK_M, BLOCK_N)
            keep = tl.trans(keep)
            kept = tl.where(keep, weights * keep_scale, 0.0)
            grad_weights = tl.where(keep, grad_weights * keep_scale, 0.0)
        value_sum = product_added(rounded(kept, g.dtype, PRECISION), g, value_sum, PRECISION)
        grad_scores = weights * (grad_weights - centre[None, :])
        key_sum = product_added(rounded(grad_scores, q.dtype, PRECISION), q, key_sum, PRECISION)

    if BATCHED:
        intervals += batch_64 * num_queries * (2 * K)
    for t in range(e0 - s0 + e1 - s1 - full):
        first_row = partial_tile(t, s0, f0, g0, e0, s1, f1, g1, K) * BLOCK_M
        first_query = first_row // GROUP
        queries, heads = (first_row + tile_rows) // GROUP, (first_row + tile_rows) % GROUP
        valid = queries < num_queries
        query_offsets = local_offsets(queries - first_query, query_stride_s, UNIT, WIDE)
        query_offsets += local_offsets(heads, query_stride_h, UNIT, WIDE)
        grad_offsets = local_offsets(queries - first_query, grad_stride_s, UNIT, WIDE)
        grad_offsets += local_offsets(heads, grad_stride_h, UNIT, WIDE)
        first_query_64 = first_query.to(tl.int64)
        q = load_tile(query + first_query_64 * query_stride_s * UNIT, query_offsets, valid, HEAD_DIM, BLOCK_D, True)
        g = load_tile(grad_out + first_query_64 * grad_stride_s * UNIT, grad_offsets, valid, HEAD_DIM, BLOCK_D, True)
        row = heads.to(tl.int64) * num_queries + queries
        # Rows that do not exist or see nothing have the shift +inf, which makes every weight zero.
        shift = tl.load(row_shift + row, mask=valid, other=float("inf"))
        factor = shift
        if not BASE_2:
            factor = tl.load(row_inverse + row, mask=valid, other=0.0)
        centre = tl.load(delta + row, mask=valid, other=0.0)
        scores = product(k, tl.trans(q), PRECISION)
        grad_weights = product(v, tl.trans(g), PRECISION)
        weights = softmax_weights(scores, score_scale, shift[None, :], factor[None, :], BASE_2)
        if K > 0:
            low_0, length_0, low_1, length_1 = load_intervals(intervals, queries, num_queries, num_keys, K)
            seen = visible(keys[:, None], low_0[None, :], length_0[None, :], low_1[None, :], length_1[None, :], K)
            weights = tl.where(seen, weights, 0.0)
        kept = weights
        if DROPOUT:
            head = key_head * GROUP + heads
            keep = dropout_keep(seed_value, batch, head, queries, first_key, dropout_threshold, BLOCK_M, BLOCK_N)
            keep = tl.trans(keep)
            kept = tl.where(keep, weights * keep_scale, 0.0)
            grad_weights = tl.where(keep, grad_weights * keep_scale, 0.0)
        kept = rounded(kept, g.dtype, PRECISION)
        if REPAIR:
            value_sum = contained_product_added(kept, g, seen, value_sum, BLOCK_M, PRECISION)
        else:
            value_sum = product_added(kept, g, value_sum, PRECISION)
        grad_scores = weights * (grad_weights - centre[None, :])
        if REPAIR:  # the weight 0 of a hidden row was multiplied with what may be bad
            grad_scores = rounded(tl.where(seen, grad_scores, 0.0), q.dtype, PRECISION)
            key_sum = contained_product_added(grad_scores, q, seen, key_sum, BLOCK_M, PRECISION)
        else:
            key_sum = product_added(rounded(grad_scores, q.dtype, PRECISION), q, key_sum, PRECISION)

    base = ((batch_64 * num_keys + first_key_64) * key_heads + key_head_64) * HEAD_DIM
    offsets = local_offsets(tile_keys, key_heads * HEAD_DIM, 1, WIDE)
    store_tile(grad_key + base, offsets, exists, key_sum * scale, HEAD_DIM, BLOCK_D, PRECISION)
    store_tile(grad_value + base, offsets, exists, value_sum, HEAD_DIM, BLOCK_D, PRECISION)
