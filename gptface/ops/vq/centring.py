"""Codes moved by a centre, which changes no order among them and keeps the digits of a product.

Ranking codes for one row does not change when a vector is subtracted from all codes (and, for distances, from the row).
Without a large common offset a float32 product keeps its digits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["RankedCodes", "centre_of", "normalised", "ranked_codes"]

# Spreads of the codes whose squares and products float32 holds with room to spare; others are scaled to about one.
_LEAST_SPREAD, _LARGEST_SPREAD = 2.0**-40, 2.0**40


def normalised(vectors: Tensor) -> Tensor:
    """Vectors of length one along the last dimension; zeros stay zeros."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)


def centre_of(codes: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the usable codes ``(G, 1, D)``, rounded to multiples of ``step (G, 1, 1)``.

    The step is a power of two no smaller than the codes' spread. The rounding leaves data without an offset untouched,
    and keeps differences of whole numbers whole: what was an exact tie before stays one.
    """
    weight = usable.unsqueeze(-1).to(codes.dtype)
    number = weight.sum(1, keepdim=True).clamp_min(1.0)
    mean = (codes * weight).sum(1, keepdim=True) / number
    spread = (((codes - mean) * weight).square().sum((1, 2), keepdim=True) / (number * codes.shape[-1])).sqrt()
    step = torch.exp2(spread.clamp_min(torch.finfo(codes.dtype).tiny).log2().ceil())
    rounded = (mean / step).round() * step
    return torch.where(rounded.isfinite(), rounded, mean), step


class RankedCodes(NamedTuple):
    """Codes for a kernel that ranks by ``s = x' · words + bias``; all float32 and contiguous.

    Attributes:
        words: ``(G, K, D)``: (code − centre) · scale; unit vectors less the centre for the cosine metric.
        bias: ``(G, K)``: ``−‖words‖² / 2`` for distances, else 0; the most negative number for unusable codes.
        centre: ``(G, D)``.
        scale: ``(G,)``, a power of two: 1 but for codes whose squares could leave float32.
        usable: ``(G, K)`` bool: no NaN and no infinity.
    """

    words: Tensor
    bias: Tensor
    centre: Tensor
    scale: Tensor
    usable: Tensor


def ranked_codes(codebook: Tensor, metric: str) -> RankedCodes:
    """Of ``codebook (G, K, D)``; computed in float64, each element rounded once."""
    codes = codebook.double()
    usable = codes.isfinite().all(-1)
    codes = torch.where(usable.unsqueeze(-1), codes, 0.0)
    if metric == "cosine":
        codes = normalised(codes)
    centre, step = centre_of(codes, usable)
    centre = centre.float()
    ordinary = (step >= _LEAST_SPREAD) & (step <= _LARGEST_SPREAD) | (metric == "cosine") | (step < 2.0**-120)
    scale = torch.where(ordinary, 1.0, 1.0 / step.clamp(2.0**-100, 2.0**100)).float()
    words = ((codes - centre) * scale).float()
    bias = (
        words.double().square().sum(-1).mul_(-0.5).float()
        if metric == "euclidean"
        else torch.zeros_like(usable, dtype=torch.float32)
    )
    bias = bias.masked_fill(~usable, torch.finfo(torch.float32).min)
    words = torch.where(usable.unsqueeze(-1), words, 0.0)
    return RankedCodes(words, bias, centre.squeeze(1).contiguous(), scale.reshape(-1), usable)
