"""Which codes may be best for a row: tiles of scores on the matrix units, and a running selection that sorts nothing.

``s = x' · words + bias`` ranks the codes of a group for a row. ``words`` are the codes less their centre (made unit
vectors first for the cosine metric), ``x'`` is the row, less the same centre for distances, and the bias is
``−‖word‖² / 2`` for distances, else 0. The launcher packs the codes once a call; rows are moved tile by tile, so that
nothing of the size of ``x`` is stored. What is kept of a row is decided in ``vq_decide``.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gptface.kernels.attention_device import product_added, rounded

__all__ = ["NO_CODE", "nominate_kernel", "row_terms_kernel"]

# Indices from here upward stand for a place that no code has taken; numbered, so that no two are equal.
NO_CODE = tl.constexpr(2**30)


@triton.jit
def _moved_rows(tile, centre, scale, columns, WIDTH: tl.constexpr, MOVED: tl.constexpr):  # type: ignore[no-untyped-def]
    tile = tile.to(tl.float32)
    if MOVED:
        tile = tile - tl.load(centre + columns, mask=columns < WIDTH, other=0.0)[None, :]
    return tile * scale


@triton.jit
def _operand(tile, PRECISION: tl.constexpr, INTERPRETED: tl.constexpr):  # type: ignore[no-untyped-def]
    if PRECISION == "bf16":
        tile = rounded(tile, tl.bfloat16, "widened" if INTERPRETED else "ieee")
    return tile


@triton.jit
def _load_rows(  # type: ignore[no-untyped-def]
    x, centre, scale, row_offsets, columns, x_stride_d, WIDTH: tl.constexpr, MOVED: tl.constexpr,
    CONTIGUOUS: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    offsets = columns if CONTIGUOUS else columns * x_stride_d
    places = x + row_offsets[:, None] + offsets[None, :]
    tile = tl.load(places, mask=(columns < WIDTH)[None, :], other=0.0) if MASKED else tl.load(places)
    return _operand(_moved_rows(tile, centre, scale, columns, WIDTH, MOVED), PRECISION, INTERPRETED)


@triton.jit
def _ordered(value):  # type: ignore[no-untyped-def]
    """int32 in the order of float32 ``value``."""
    bits = value.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit(do_not_specialize=["x_stride_g", "x_stride_n", "x_stride_d", "rows", "codes", "splits"])
def nominate_kernel(
    x: tl.tensor,  # (G, N, WIDTH), any strides
    words: tl.tensor,  # (G, K, DEPTH) contiguous, zeros beyond WIDTH
    bias: tl.tensor,  # (G, K) float32
    centre: tl.tensor,  # (G, WIDTH) float32; read with MOVED only
    scale: tl.tensor,  # (G,) float32
    terms: tl.tensor,  # (G, 2, N) float32 as row_terms_kernel left them; read with NEAREST only
    candidates: tl.tensor,  # (G, N, splits, KEPT) int32, written
    nearest: tl.tensor,  # (G, K) int64, raised; with NEAREST only
    x_stride_g: tl.int64,
    x_stride_n: tl.int64,
    x_stride_d: tl.int64,
    rows: tl.int32,
    codes: tl.int32,
    splits: tl.int32,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
    UNIT: tl.constexpr,
    CONTIGUOUS: tl.constexpr,
    MOVED: tl.constexpr,
    KEPT: tl.constexpr,
    SLOTS: tl.constexpr,
    NEAREST: tl.constexpr,
    PRECISION: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """One program a block of rows and a share of the codes ("split"). ``candidates``: KEPT codes in no order.

    Of equal scores the lowest index is kept: codes come in ascending order, and one that comes later has to be better.
    Strides of x are in units of UNIT elements.
    """
    row_blocks = tl.cdiv(rows, BLOCK_M)
    program = tl.program_id(0)
    split = program % splits
    row_block = program // splits % row_blocks
    group = (program // splits // row_blocks).to(tl.int64)

    row = row_block * BLOCK_M + tl.arange(0, BLOCK_M)
    there = row < rows
    # Rows and codes past the end are read as the last one, and what comes of them is dropped: loads need no masks.
    row_offsets = UNIT * x_stride_n * tl.minimum(row, rows - 1).to(tl.int64)
    x += UNIT * x_stride_g * group
    words += group * codes * DEPTH
    bias += group * codes
    centre += group * WIDTH
    factor_of_scale = tl.load(scale + group)
    column = tl.arange(0, BLOCK_N)
    depth = tl.arange(0, BLOCK_K)
    input_precision: tl.constexpr = "ieee" if PRECISION == "bf16" else PRECISION
    arithmetic: tl.constexpr = "widened" if INTERPRETED else input_precision
    masked: tl.constexpr = DEPTH != WIDTH
    resident: tl.constexpr = BLOCK_K == DEPTH

    slot = tl.arange(0, SLOTS)
    # Places beyond KEPT hold +inf, which nothing can push out.
    kept_value = tl.zeros((BLOCK_M, SLOTS), tl.float32) + tl.where(slot < KEPT, -float("inf"), float("inf"))[None, :]
    kept_index = tl.zeros((BLOCK_M, SLOTS), tl.int32) + (slot + (split * SLOTS + NO_CODE))[None, :]
    if NEAREST:
        factor = tl.load(terms + group * 2 * rows + row, mask=there, other=0.0)
        outside = tl.load(terms + (group * 2 + 1) * rows + row, mask=there, other=-float("inf"))

    if resident:
        row_tile = _load_rows(
            x, centre, factor_of_scale, row_offsets, depth, x_stride_d,
            WIDTH, MOVED, CONTIGUOUS, masked, PRECISION, INTERPRETED,
        )  # fmt: skip
    tiles = tl.cdiv(codes, BLOCK_N)
    share = tl.cdiv(tiles, splits)
    for tile in tl.range(split * share, tl.minimum((split + 1) * share, tiles)):
        code = tile * BLOCK_N + column
        code_offsets = tl.minimum(code, codes - 1).to(tl.int64) * DEPTH
        score = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        if resident:
            code_tile = tl.load(words + code_offsets[:, None] + depth[None, :])
            score = product_added(row_tile, tl.trans(code_tile), score, arithmetic)
        else:
            for start in tl.range(0, DEPTH, BLOCK_K):
                some_rows = _load_rows(
                    x, centre, factor_of_scale, row_offsets, start + depth, x_stride_d,
                    WIDTH, MOVED, CONTIGUOUS, masked, PRECISION, INTERPRETED,
                )  # fmt: skip
                code_tile = tl.load(words + code_offsets[:, None] + (start + depth)[None, :])
                score = product_added(some_rows, tl.trans(code_tile), score, arithmetic)
        offset = tl.load(bias + code, mask=code < codes, other=-float("inf"))
        score = score + offset[None, :]
        if INTERPRETED:  # NumPy's maximum refuses NaN, which a GPU passes over
            score = tl.where(score == score, score, -float("inf"))

        if NEAREST:
            for_code = tl.where(
                (outside > -float("inf"))[:, None], score * factor[:, None] + outside[:, None], -float("inf")
            )
            top = tl.max(for_code, 0)
            first = tl.min(tl.where(for_code == top[None, :], row[:, None], 0x7FFFFFFF), 0)
            # One 64-bit maximum keeps the best score and, among equals, the first row, in whatever order programs come.
            key = (_ordered(top).to(tl.int64) << 32) | (0x7FFFFFFF - first).to(tl.int64)
            tl.atomic_max(nearest + group * codes + code, key, mask=(code < codes) & (top > -float("inf")))

        value, place = tl.max(score, 1, return_indices=True, return_indices_tie_break_left=True)
        if KEPT == 1:
            better = (value > tl.max(tl.where(slot[None, :] == 0, kept_value, -float("inf")), 1))[:, None]
            taken = better & (slot[None, :] == 0)
            kept_value = tl.where(taken, value[:, None], kept_value)
            kept_index = tl.where(taken, (tile * BLOCK_N + place)[:, None], kept_index)
        else:
            worst = tl.min(kept_value, 1)
            while tl.max((value > worst).to(tl.int32), 0) > 0:
                better = value > worst
                # Of equal ones that which came last goes.
                last = tl.max(tl.where(kept_value == worst[:, None], kept_index, -1), 1)
                taken = (kept_index == last[:, None]) & better[:, None]
                kept_value = tl.where(taken, value[:, None], kept_value)
                kept_index = tl.where(taken, (tile * BLOCK_N + place)[:, None], kept_index)
                score = tl.where(column[None, :] == place[:, None], -float("inf"), score)
                value, place = tl.max(score, 1, return_indices=True, return_indices_tie_break_left=True)
                worst = tl.min(kept_value, 1)

    places = ((group * rows + row.to(tl.int64)) * splits + split) * KEPT
    tl.store(candidates + places[:, None] + slot[None, :], kept_index, mask=there[:, None] & (slot < KEPT)[None, :])


@triton.jit(do_not_specialize=["x_stride_g", "x_stride_n", "x_stride_d", "rows"])
def row_terms_kernel(
    x: tl.tensor,  # (G, N, WIDTH), any strides
    centre: tl.tensor,  # (G, WIDTH) float32
    scale: tl.tensor,  # (G,) float32
    terms: tl.tensor,  # (G, 2, N) float32, written
    x_stride_g: tl.int64,
    x_stride_n: tl.int64,
    x_stride_d: tl.int64,
    rows: tl.int32,
    WIDTH: tl.constexpr,
    METRIC: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """What makes scores of different rows comparable: ``factor`` and ``outside`` with ``score = factor · s + outside``.

    ``outside`` is −inf for a row that holds a NaN or an infinity: no code may call it its nearest.
    """
    row_blocks = tl.cdiv(rows, BLOCK_M)
    group = (tl.program_id(0) // row_blocks).to(tl.int64)
    row = tl.program_id(0) % row_blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    there = row < rows
    row_offsets = x_stride_n * tl.minimum(row, rows - 1).to(tl.int64)
    x += x_stride_g * group
    centre += group * WIDTH
    factor_of_scale = tl.load(scale + group)
    square = tl.zeros((BLOCK_M,), tl.float64)
    along = tl.zeros((BLOCK_M,), tl.float64)
    finite = tl.zeros((BLOCK_M,), tl.float32)
    for start in range(0, WIDTH, BLOCK_K):
        depth = start + tl.arange(0, BLOCK_K)
        mask = (depth < WIDTH)[None, :]
        given = tl.load(x + row_offsets[:, None] + (depth * x_stride_d)[None, :], mask=mask, other=0.0).to(tl.float32)
        mean = tl.load(centre + depth, mask=depth < WIDTH, other=0.0)[None, :]
        finite += tl.sum(given * 0.0, 1)
        moved = (given - mean if METRIC == "euclidean" else given) * factor_of_scale
        square += tl.sum(moved.to(tl.float64) * moved.to(tl.float64), 1)
        along += tl.sum(moved.to(tl.float64) * (mean * factor_of_scale).to(tl.float64), 1)
    factor = tl.zeros((BLOCK_M,), tl.float64) + 1.0
    outside = along
    if METRIC == "euclidean":
        outside = -0.5 * square
    if METRIC == "cosine":
        factor = tl.where(square > 0.0, 1.0 / tl.sqrt(tl.where(square > 0.0, square, 1.0)), 0.0)
        outside = along * factor
    outside = tl.where(finite == 0.0, outside, -float("inf"))
    tl.store(terms + group * 2 * rows + row, factor.to(tl.float32), mask=there)
    tl.store(terms + (group * 2 + 1) * rows + row, outside.to(tl.float32), mask=there)
