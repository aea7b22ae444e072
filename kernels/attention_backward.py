"""Gradient of queries, and ``delta``: the first of two kernels without atomics, so every element has one writer.

With weights P (``exp(S − lse)``, or in float32 from what forward kept of the softmax), dropout factors M and
``delta = sum(dO · O) − dlse`` for each row (arXiv 2205.14135):
``dV = (P·M)ᵀ dO``, ``dS = P · (M · (dO Vᵀ) − delta)``, ``dQ = scale · dS K``, ``dK = scale · dSᵀ Q``.

This kernel has the tiles of O and dO at hand, so it computes ``delta`` and leaves it to ``attention_backward_keys``.
With powers of 2 it also leaves there what is subtracted from a row's scores, which that kernel would otherwise compute
again in every tile.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gptface.kernels.attention_containment import contained_product_added, holds_nan
from gptface.kernels.attention_device import (
    dropout_keep,
    first_row_of_program,
    full_tile,
    head_base,
    load_intervals,
    load_tile,
    local_offsets,
    negated,
    packed_offsets,
    packed_rows,
    partial_tile,
    product,
    product_added,
    rounded,
    row_pointer,
    row_statistics,
    softmax_weights,
    store_tile,
    tile_base,
    visible,
)
from gptface.kernels.attention_forward import key_segments

__all__ = ["grad_query_kernel"]


@triton.jit(
    do_not_specialize=[
        "query_stride_b", "query_stride_s", "query_stride_h", "key_stride_b", "key_stride_s", "key_stride_h",
        "value_stride_b", "value_stride_s", "value_stride_h", "grad_stride_b", "grad_stride_s", "grad_stride_h",
        "num_queries", "num_keys", "key_heads", "tile_by_tile", "dropout_threshold",
    ]
)  # fmt: skip
def grad_query_kernel(
    query: tl.tensor,  # (B, Sq, H, D)
    key: tl.tensor,  # (B, Skv, Hkv, D)
    value: tl.tensor,
    grad_out: tl.tensor,  # (B, Sq, H, D)
    out: tl.tensor,  # (B, Sq, H, D) contiguous
    lse: tl.tensor,  # (B, H, Sq) contiguous; read with BASE_2
    row_top: tl.tensor,  # (B, H, Sq), as forward left them; read without BASE_2
    row_inverse: tl.tensor,
    grad_lse: tl.tensor,  # (B, H, Sq) contiguous; read with GRAD_LSE only
    delta: tl.tensor,  # (B, H, Sq) contiguous float32, written
    shifts: tl.tensor,  # (B, H, Sq) contiguous float32: lse · log2(e), +inf for −inf; written with BASE_2
    grad_query: tl.tensor,  # (B, Sq, H, D) contiguous, written
    intervals: tl.tensor,
    rows: tl.tensor,
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
    GRAD_LSE: tl.constexpr,
    FLIP: tl.constexpr,
    UNIT: tl.constexpr,
    WIDE: tl.constexpr,
    BASE_2: tl.constexpr,
    PRECISION: tl.constexpr,
    REPAIR: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """One program a tile of packed rows, as forward."""
    first_row, batch, key_head = first_row_of_program(num_queries, key_heads, tile_by_tile, GROUP, BLOCK_M)
    batch_64 = batch.to(tl.int64)
    first_query, queries, heads = packed_rows(first_row, tl.arange(0, BLOCK_M), GROUP)
    head = key_head * GROUP + heads
    valid = queries < num_queries
    first_head = key_head * GROUP
    query = row_pointer(query, batch, first_query, first_head, query_stride_b, query_stride_s, query_stride_h, UNIT)
    grad_out = row_pointer(grad_out, batch, first_query, first_head, grad_stride_b, grad_stride_s, grad_stride_h, UNIT)
    key = head_base(key, batch, key_head, key_stride_b, key_stride_h, UNIT)
    value = head_base(value, batch, key_head, value_stride_b, value_stride_h, UNIT)
    query_offsets = packed_offsets(queries, heads, first_query, query_stride_s, query_stride_h, UNIT, WIDE)
    grad_offsets = packed_offsets(queries, heads, first_query, grad_stride_s, grad_stride_h, UNIT, WIDE)
    row_64 = batch_64 * num_queries * key_heads * GROUP
    row_base = (row_64 + first_query.to(tl.int64) * key_heads * GROUP) * HEAD_DIM
    row_offsets = local_offsets(queries - first_query, key_heads * (GROUP * HEAD_DIM), 1, WIDE) + head * HEAD_DIM
    statistics = row_64 + head.to(tl.int64) * num_queries + queries
    if REPAIR:
        bad = holds_nan(grad_query + row_base, row_offsets, valid, HEAD_DIM, BLOCK_D)
        if not bad:
            return
    tile_keys = tl.arange(0, BLOCK_N)
    key_offsets = local_offsets(tile_keys, key_stride_s, UNIT, WIDE)
    value_offsets = local_offsets(tile_keys, value_stride_s, UNIT, WIDE)

    q = load_tile(query, query_offsets, valid, HEAD_DIM, BLOCK_D, True)
    if FLIP:
        q = negated(q)
    g = load_tile(grad_out, grad_offsets, valid, HEAD_DIM, BLOCK_D, True)
    o = load_tile(out + row_base, row_offsets, valid, HEAD_DIM, BLOCK_D, True)
    centre = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
    if GRAD_LSE:
        centre = centre - tl.load(grad_lse + statistics, mask=valid, other=0.0)
    tl.store(delta + statistics, centre, mask=valid)
    shift, factor = row_statistics(lse, row_top, row_inverse, statistics, valid, BASE_2)
    if BASE_2:
        tl.store(shifts + statistics, shift, mask=valid)
    accumulator = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
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
        values = tile_base(value, first_key, value_stride_s, UNIT)
        v = load_tile(values, value_offsets, tile_keys, HEAD_DIM, BLOCK_D, False)
        scores = product(q, tl.trans(k), PRECISION)
        grad_weights = product(g, tl.trans(v), PRECISION)
        weights = softmax_weights(scores, score_scale, shift[:, None], factor[:, None], BASE_2)
        if DROPOUT:
            keep = dropout_keep(seed_value, batch, head, queries, first_key, dropout_threshold, BLOCK_M, BLOCK_N)
            grad_weights = tl.where(keep, grad_weights * keep_scale, 0.0)
        grad_scores = weights * (grad_weights - centre[:, None])
        accumulator = product_added(rounded(grad_scores, k.dtype, PRECISION), k, accumulator, PRECISION)

    if BATCHED:
        intervals += batch_64 * num_queries * (2 * K)
    low_0, length_0, low_1, length_1 = load_intervals(intervals, queries, num_queries, num_keys, K)
    for t in range(e0 - s0 + e1 - s1 - full):
        first_key = partial_tile(t, s0, f0, g0, e0, s1, f1, g1, K) * BLOCK_N
        keys = first_key + tile_keys
        exists = keys < num_keys
        k = load_tile(tile_base(key, first_key, key_stride_s, UNIT), key_offsets, exists, HEAD_DIM, BLOCK_D, True)
        values = tile_base(value, first_key, value_stride_s, UNIT)
        v = load_tile(values, value_offsets, exists, HEAD_DIM, BLOCK_D, True)
        scores = product(q, tl.trans(k), PRECISION)
        grad_weights = product(g, tl.trans(v), PRECISION)
        seen = visible(keys[None, :], low_0[:, None], length_0[:, None], low_1[:, None], length_1[:, None], K)
        weights = tl.where(seen, softmax_weights(scores, score_scale, shift[:, None], factor[:, None], BASE_2), 0.0)
        if DROPOUT:
            keep = dropout_keep(seed_value, batch, head, queries, first_key, dropout_threshold, BLOCK_M, BLOCK_N)
            grad_weights = tl.where(keep, grad_weights * keep_scale, 0.0)
        grad_scores = weights * (grad_weights - centre[:, None])
        if REPAIR:  # the weight 0 of a hidden key was multiplied with what may be bad
            grad_scores = rounded(tl.where(seen, grad_scores, 0.0), k.dtype, PRECISION)
            accumulator = contained_product_added(grad_scores, k, seen, accumulator, BLOCK_N, PRECISION)
        else:
            accumulator = product_added(rounded(grad_scores, k.dtype, PRECISION), k, accumulator, PRECISION)

    store_tile(grad_query + row_base, row_offsets, valid, accumulator * scale, HEAD_DIM, BLOCK_D, PRECISION)
