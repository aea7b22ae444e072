"""Of the nominated codes of a row, the best by their float64 scores from the original values, in order.

So the choice is as exact as float64 wherever the best codes are among the nominated, and scores are those of the
definition whatever arithmetic nominated.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["decide_kernel"]


@triton.jit(
    do_not_specialize=[
        "x_stride_g", "x_stride_n", "x_stride_d", "code_stride_g", "code_stride_k", "code_stride_d",
        "rows", "codes", "nominated", "topk",
    ]
)  # fmt: skip
def decide_kernel(
    x: tl.tensor,  # (G, N, WIDTH), any strides
    codebook: tl.tensor,  # (G, K, WIDTH), any strides
    candidates: tl.tensor,  # (G, N, nominated) int32, in any order; K or more where there is none
    scores: tl.tensor,  # (G, N, topk) float32, written
    indices: tl.tensor,  # (G, N, topk) int64, written
    counts: tl.tensor,  # (G, K) int64, added to
    x_stride_g: tl.int64,
    x_stride_n: tl.int64,
    x_stride_d: tl.int64,
    code_stride_g: tl.int64,
    code_stride_k: tl.int64,
    code_stride_d: tl.int64,
    rows: tl.int32,
    codes: tl.int32,
    nominated: tl.int32,
    topk: tl.int32,
    WIDTH: tl.constexpr,
    METRIC: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """One program a block of rows. A rank counts who is better; equal scores rank by their index."""
    row_blocks = tl.cdiv(rows, BLOCK_M)
    group = (tl.program_id(0) // row_blocks).to(tl.int64)
    row = tl.program_id(0) % row_blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    there = row < rows
    row_64 = tl.minimum(row, rows - 1).to(tl.int64)
    slot = tl.arange(0, SLOTS)
    index = tl.load(
        candidates + (group * rows + row_64)[:, None] * nominated + slot[None, :],
        mask=(slot < nominated)[None, :],
        other=0x7FFFFFFF,
    )
    named = index < codes
    x += x_stride_g * group
    codebook += code_stride_g * group
    row_offsets = x_stride_n * row_64
    code_offsets = code_stride_k * tl.where(named, index, 0).to(tl.int64)

    product = tl.zeros((BLOCK_M, SLOTS), tl.float64)  # of distances the square
    code_square = tl.zeros((BLOCK_M, SLOTS), tl.float64)
    code_finite = tl.zeros((BLOCK_M, SLOTS), tl.float32)
    row_square = tl.zeros((BLOCK_M,), tl.float64)
    row_finite = tl.zeros((BLOCK_M,), tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        depth = start + tl.arange(0, BLOCK_K)
        mask = depth < WIDTH
        given = tl.load(
            x + row_offsets[:, None] + (depth * x_stride_d)[None, :], mask=mask[None, :], other=0.0
        ).to(tl.float32)  # fmt: skip
        code = tl.load(
            codebook + code_offsets[:, :, None] + (depth * code_stride_d)[None, None, :],
            mask=mask[None, None, :],
            other=0.0,
        ).to(tl.float32)
        row_finite += tl.sum(given * 0.0, 1)  # not zero where one is not finite
        code_finite += tl.sum(code * 0.0, 2)
        wide_row, wide_code = given.to(tl.float64)[:, None, :], code.to(tl.float64)
        if METRIC == "euclidean":
            product += tl.sum((wide_row - wide_code) * (wide_row - wide_code), 2)
        else:
            product += tl.sum(wide_row * wide_code, 2)
        if METRIC == "cosine":
            row_square += tl.sum(given.to(tl.float64) * given.to(tl.float64), 1)
            code_square += tl.sum(wide_code * wide_code, 2)

    score = product
    if METRIC == "euclidean":
        score = -product
    if METRIC == "cosine":
        norms = tl.sqrt(row_square)[:, None] * tl.sqrt(code_square)
        score = tl.where(norms > 0.0, product / tl.where(norms > 0.0, norms, 1.0), 0.0)
    score = tl.where(named & (code_finite == 0.0), score, -float("inf"))
    usable = row_finite == 0.0
    score = tl.where(usable[:, None], score, 0.0)  # comparable; what is written is another matter

    other_score, other_index = score[:, None, :], index[:, None, :]
    better = (other_score > score[:, :, None]) | (
        (other_score == score[:, :, None]) & (other_index < index[:, :, None])
    )  # fmt: skip
    # Places that no code took have equal indices; one of them must not stand before another of the same rank.
    same = (other_score == score[:, :, None]) & (other_index == index[:, :, None])
    better = better | (same & (slot[None, None, :] < slot[None, :, None]))
    rank = tl.sum(better.to(tl.int32), 2)

    chosen = tl.where(usable[:, None], tl.minimum(index, codes - 1), 0)
    places = (group * rows + row_64)[:, None] * topk + rank
    mask = there[:, None] & (rank < topk)
    written = tl.where(usable[:, None], score, float("nan"))
    tl.store(scores + places, written.to(tl.float32), mask=mask)
    tl.store(indices + places, chosen.to(tl.int64), mask=mask)
    one = tl.zeros((BLOCK_M, SLOTS), tl.int64) + 1
    tl.atomic_add(counts + group * codes + chosen, one, mask=mask & (rank == 0) & usable[:, None])
