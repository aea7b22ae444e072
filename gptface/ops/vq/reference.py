"""VQ lookup written like its definition; the oracle of every test. Memory grows with N·K·D: for small shapes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lookup_reference"]


def lookup_reference(
    x: Tensor, codebook: Tensor, metric: str, topk: int, precision: str, nearest_rows: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Score every row of ``x (G, N, D)`` against every code of ``codebook (G, K, D)``.

    Computed in float64 where an argument is float64, else in float32, whatever ``precision`` allows. Returns scores
    and indices ``(G, N, topk)``, counts ``(G, K)`` and the nearest rows ``(G, K)`` (``(G, 0)`` unless asked for).
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, codebook.dtype), torch.float32)
    x, codebook = x.to(dtype), codebook.to(dtype)
    usable_row, usable_code = x.isfinite().all(-1), codebook.isfinite().all(-1)

    rows, codes = x.unsqueeze(2), codebook.unsqueeze(1)
    if metric == "euclidean":
        scores = -(rows - codes).square().sum(-1)
    elif metric == "cosine":
        tiny = torch.finfo(dtype).tiny
        scores = (
            (rows / rows.norm(dim=-1, keepdim=True).clamp_min(tiny))
            * (codes / codes.norm(dim=-1, keepdim=True).clamp_min(tiny))
        ).sum(-1)
    else:
        scores = (rows * codes).sum(-1)
    scores = scores.masked_fill(~usable_code.unsqueeze(1), -torch.inf)

    # A stable sort keeps equal scores in the order of their index: ties go to the lowest.
    best, indices = scores.sort(dim=-1, descending=True, stable=True)
    best = best[..., :topk].masked_fill(~usable_row.unsqueeze(-1), torch.nan)
    indices = indices[..., :topk].masked_fill(~usable_row.unsqueeze(-1), 0)

    counts = torch.zeros(codebook.shape[:2], dtype=torch.int64, device=x.device)
    counts.scatter_add_(1, indices[..., 0], usable_row.long())

    nearest = torch.full((codebook.shape[0], codebook.shape[1] if nearest_rows else 0), -1, device=x.device)
    if nearest_rows and x.shape[1] > 0:
        by_code = scores.masked_fill(~usable_row.unsqueeze(-1), -torch.inf)
        nearest = by_code.argmax(dim=1)
        reached = usable_code & usable_row.any(-1, keepdim=True)
        nearest = nearest.masked_fill(~reached, -1)
    return best, indices, counts, nearest
