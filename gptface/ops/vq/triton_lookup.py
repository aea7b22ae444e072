"""VQ lookup by Triton kernels: which calls they take, and how they reach them. Imports no triton before a launch."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.ops import triton_support
from gptface.ops.vq.centring import ranked_codes

__all__ = ["lookup_triton", "unsupported"]

_MOST_CANDIDATES = 16
_MOST_ROWS = 2**31 - 1024
_MOST_CODES = 2**30
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def unsupported(x: Tensor, codebook: Tensor, topk: int) -> str | None:
    """Why the kernels cannot take this call, or ``None``."""
    reason = triton_support.unsupported_device(x.device.type, x.device.index or 0)
    if reason is not None:
        return reason
    for name, tensor in (("x", x), ("codebook", codebook)):
        if tensor.dtype not in _DTYPES:
            return f"{name} is {tensor.dtype}; it takes float32, bfloat16 and float16"
    if topk > _MOST_CANDIDATES:
        return f"topk={topk}; it takes at most {_MOST_CANDIDATES}"
    return None


def lookup_triton(
    x: Tensor, codebook: Tensor, metric: str, topk: int, precision: str, nearest_rows: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`gptface.ops.vq.reference.lookup_reference`, for what :func:`unsupported` lets pass.

    ``"exact"`` nominates ``topk + 1`` codes by float32 products without tensor cores and decides among them in float64;
    the other precisions nominate ``topk`` by theirs. Rows so far from the codes that float32 cannot hold their products
    with (centred) codes have no defined winner.

    What ``"exact"`` guarantees, and what not: let B bound the rounding of a score (``csrc/include/gptface/vq_block.h``
    derives one for float32 words; it holds for any order of additions). A code is passed over only where ``topk + 1``
    others of its share of the codebook had float32 scores no worse, whose true scores then reach its own less 2 B. So
    the indices are those of float64 for every row in which at most ``topk + 1`` codes reach the ``topk``-th best score
    less 2 B; in other rows a chosen score may be up to 2 B worse than the right one. The CPU kernels check a condition
    like this for every row and look again where it fails; these do not. Equal codes have equal float32 scores, so
    among them the lowest indices are found all the same.
    """
    from gptface.kernels import vq

    codes = codebook.shape[1]
    if x.shape[1] > _MOST_ROWS or codes >= _MOST_CODES:
        raise RuntimeError(
            f"vq_lookup: impl='triton' takes at most {_MOST_ROWS} rows and {_MOST_CODES - 1} codes, "
            f"x has {x.shape[1]} and the codebook {codes}"
        )
    ranked = ranked_codes(codebook, metric)
    products = "ieee" if precision == "exact" else precision
    kept = min(topk + 1, codes) if precision == "exact" else topk
    scores, indices, counts, nearest = vq.lookup(
        x, codebook, ranked.words, ranked.bias, ranked.centre, ranked.scale, metric, topk, kept, products, nearest_rows
    )
    if nearest_rows:
        nearest = nearest.masked_fill(~ranked.usable, -1)
    return scores, indices, counts, nearest
