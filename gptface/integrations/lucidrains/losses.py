"""Losses and a gradient that vector-quantize-pytorch has and ``gptface.ops`` has not."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gptface.ops.vq.chunked import block_rows

__all__ = ["LossBreakdown", "code_cross_entropy", "directional_reparam", "similarities"]


class LossBreakdown(NamedTuple):
    """The parts of the loss before their weights; what is not in use is 0."""

    commitment: Tensor
    codebook_diversity: Tensor
    orthogonal_reg: Tensor
    inplace_optimize: Tensor


def directional_reparam(x: Tensor, code: Tensor, variance: float = 5e-3) -> Tensor:
    """``x`` moved as far as ``code`` is away, nearly into its direction: DiVeQ (openreview KRVnpTbx7R, figure 1).

    The direction, with normal noise of this variance, is a constant; the distance has a gradient for both.
    """
    error = code - x
    direction = error.detach() + variance**0.5 * torch.randn_like(error)
    direction = functional.normalize(direction, dim=-1, eps=1e-6)
    return x + direction * error.norm(dim=-1, keepdim=True)


def similarities(rows: Tensor, codes: Tensor, cosine: bool) -> Tensor:
    """``(G, N, K)`` of ``rows (G, N, d)`` and ``codes (G, K, d)``: the product, or the negative distance."""
    if cosine:
        return rows @ codes.mT
    # Moved by the codes' mean, the expanded form keeps its digits.
    centre = codes.detach().mean(1, keepdim=True)
    rows, codes = rows - centre, codes - centre
    squares = rows.square().sum(-1).unsqueeze(-1) + codes.square().sum(-1).unsqueeze(1)
    return -(squares - 2 * (rows @ codes.mT)).clamp_min(1e-8).sqrt()


def code_cross_entropy(rows: Tensor, codes: Tensor, indices: Tensor, cosine: bool) -> Tensor:
    """Mean cross-entropy of the softmax of the similarities against given codes; a scalar, 0 without any.

    A block of rows at a time, and once more in the backward pass: the row × code matrix is never stored.

    Args:
        rows: ``(N, G, d)``, codes: ``(G, K, d)``: float32 or float64.
        indices: int64 ``(N, G)``; −1 is left out.
        cosine: see :func:`similarities`.
    """

    def part(rows: Tensor, codes: Tensor, wanted: Tensor) -> Tensor:
        logits = similarities(rows, codes, cosine)
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1, reduction="sum")

    total = rows.new_zeros(())
    chunk = block_rows(rows.device, codes.shape[0], codes.shape[1])
    with torch.autocast(rows.device.type, enabled=False):
        by_group, wanted = rows.transpose(0, 1), indices.mT
        for block, targets in zip(by_group.split(chunk, 1), wanted.split(chunk, 1), strict=True):
            total = total + checkpoint(part, block, codes, targets, use_reentrant=False)
    return total / (indices != -1).sum().clamp_min(1)
