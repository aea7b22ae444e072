"""A NaN or an infinity stays with the rows that see it: what the kernels' second passes are made of.

Rows of a tile share products, and a weight that is hidden there is 0: 0 · NaN would carry a bad number of V, K, Q or dO
into rows that do not see it. The first pass does not look, and is compiled as if there were no second. Wherever a
hidden bad number went it left a NaN, so the second pass, the same kernel over the same grid with REPAIR set, first
reads back what its program stored; without a NaN there it ends. Any other program goes over its tiles again, tile
shapes and order as before, and leaves bad numbers out of the products of tiles that hide something; what they add is
added row by row, where it is seen. Nothing waits for the device, and no program writes what another one reads.
"""

from __future__ import annotations

import triton
import triton.language as tl

from gptface.kernels.attention_device import load_tile, product_added

__all__ = ["contained_product_added", "holds_nan"]


@triton.jit
def holds_nan(base, offsets, exists, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):  # type: ignore[no-untyped-def]
    """Whether the rows in memory that exist hold a NaN."""
    # As float32, here and below: the interpreter would compare the bit patterns of bfloat16.
    tile = load_tile(base, offsets, exists, HEAD_DIM, BLOCK_D, True).to(tl.float32)
    return tl.max(tl.max((tile != tile).to(tl.int32), 1), 0) != 0


@triton.jit
def contained_product_added(left, right, seen, total, ROWS: tl.constexpr, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """``total + left @ right``, but a NaN or infinity of ``right (ROWS, D)`` counts only where ``seen``, as ``left``.

    ``left`` must be 0 where nothing is seen. Where ``right`` is finite the sum is :func:`product_added`'s.
    """
    wide = right.to(tl.float32)
    bad = (wide != wide) | (tl.abs(wide) == float("inf"))
    total = product_added(left, tl.where(bad, 0.0, wide).to(right.dtype), total, PRECISION)
    rows = tl.arange(0, ROWS)
    bad_rows = tl.max(bad.to(tl.int32), 1) != 0
    row = tl.min(tl.where(bad_rows, rows, ROWS), 0)
    while row < ROWS:
        chosen = rows == row
        numbers = tl.sum(tl.where(chosen[:, None] & bad, wide, 0.0), 0)
        weights = tl.sum(tl.where(chosen[None, :], left.to(tl.float32), 0.0), 1)
        sees = tl.max((chosen[None, :] & seen).to(tl.int32), 1) != 0
        touched = sees[:, None] & (numbers != 0.0)[None, :]
        total = tl.where(touched, total + weights[:, None] * numbers[None, :], total)
        row = tl.min(tl.where(bad_rows & (rows > row), rows, ROWS), 0)
    return total
