"""VQ lookup in plain PyTorch over chunks of rows: bounded memory, and indices as exact as float64 arithmetic.

Three steps keep the choice exact although the matrix product runs in float32:

1. The codes are centred. Ranking codes for one row does not change when a vector is subtracted from all codes (and,
   for distances, from the row), and without a large common offset the product keeps its digits. ``‖x‖²`` is the same
   for every code and is dropped.
2. The product nominates ``topk + 1`` codes a row, taking the lowest index within its rounding error first, so that
   equal codes are found in the order of their index although a matrix product may round equal columns differently.
3. The nominated codes are scored once more from the original values in float64; that decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gptface.ops.vq.centring import centre_of, normalised
from gptface.ops.vq.library import score_dtype

__all__ = ["block_rows", "lookup_chunked", "matmul_precision"]

# Elements of one chunk's score block: fits the cache of a CPU core; large enough to fill a GPU.
_BLOCK_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 26}
_FEWEST_ROWS = 64


def block_rows(device: torch.device, groups: int, *widths: int) -> int:
    """How many rows make a block, when a row needs as many elements as the largest of ``widths`` in every group."""
    elements = _BLOCK_ELEMENTS.get(device.type, _BLOCK_ELEMENTS["cuda"])
    return max(_FEWEST_ROWS, elements // max(groups * max(widths), 1))


def lookup_chunked(
    x: Tensor, codebook: Tensor, metric: str, topk: int, precision: str, nearest_rows: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`gptface.ops.vq.reference.lookup_reference`, in O(N + K·D) memory plus one block of scores."""
    groups, number, length = x.shape
    size = codebook.shape[1]
    dtype = score_dtype(x, codebook)
    device = x.device

    codes = codebook.to(dtype)
    usable_code = codes.isfinite().all(-1)
    codes = torch.where(usable_code.unsqueeze(-1), codes, 0.0)
    ranked = normalised(codes) if metric == "cosine" else codes
    centre, _ = centre_of(ranked, usable_code)
    ranked = ranked - centre
    bias = ranked.square().sum(-1).mul_(-0.5) if metric == "euclidean" else ranked.new_zeros(groups, size)
    # Unusable codes rank behind every other, but before what has been nominated already (−inf).
    bias = bias.masked_fill(~usable_code, torch.finfo(dtype).min).unsqueeze(1)
    norms = ranked.norm(dim=-1)
    ranked = _rounded(ranked, precision).transpose(1, 2).contiguous()

    indices = torch.empty((groups, number, topk), dtype=torch.int64, device=device)
    scores = torch.empty((groups, number, topk), dtype=dtype, device=device)
    counts = torch.zeros((groups, size), dtype=torch.int64, device=device)
    asked = size if nearest_rows else 0
    nearest = torch.full((groups, asked), -1, dtype=torch.int64, device=device)
    nearest_score = torch.full((groups, asked), -torch.inf, dtype=dtype, device=device)

    nominated = min(topk + 1, size) if precision == "exact" else topk
    chunk = block_rows(device, groups, size, 2 * nominated * length)
    for start in range(0, number, chunk):
        rows = x[:, start : start + chunk].to(dtype)
        usable_row = rows.isfinite().all(-1)
        rows = torch.where(usable_row.unsqueeze(-1), rows, 0.0)
        moved = normalised(rows) if metric == "cosine" else rows
        # A dot product with the row as it is; for distances the row moves along with the codes.
        left_out = (moved * centre).sum(-1)
        if metric == "euclidean":
            moved = moved - centre
            left_out = moved.square().sum(-1).mul_(-0.5)
        with matmul_precision(device, precision):
            block = torch.baddbmm(bias, _rounded(moved, precision), ranked)

        if nearest_rows:
            by_code = (block + left_out.unsqueeze(-1)).masked_fill_(~usable_row.unsqueeze(-1), -torch.inf)
            value, row = by_code.max(dim=1)
            closer = value > nearest_score
            nearest = torch.where(closer, row + start, nearest)
            nearest_score = torch.where(closer, value, nearest_score)

        candidates = _nominate(block, moved, norms, nominated, topk)
        value, best = _decide(rows, codes, usable_code, candidates, metric, topk)
        best.masked_fill_(~usable_row.unsqueeze(-1), 0)
        indices[:, start : start + chunk] = best
        scores[:, start : start + chunk] = value.masked_fill_(~usable_row.unsqueeze(-1), torch.nan)
        counts.scatter_add_(1, best[..., 0], usable_row.long())
    if nearest_rows:
        nearest.masked_fill_(~usable_code, -1)
    return scores, indices, counts, nearest


def _rounded(values: Tensor, precision: str) -> Tensor:
    """Products of bfloat16 values are exact in float32: rounding the factors is all there is to ``"bf16"``."""
    return values.to(torch.bfloat16).to(values.dtype) if precision == "bf16" else values


@contextmanager
def matmul_precision(device: torch.device, precision: str) -> Iterator[None]:
    """Matrix products in IEEE float32, or in TF32 where that was asked for, whatever the global setting."""
    backend: Any = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    backend = backend.matmul
    before = backend.fp32_precision
    backend.fp32_precision = "tf32" if device.type == "cuda" and precision in ("tf32", "bf16") else "ieee"
    try:
        yield
    finally:
        backend.fp32_precision = before


def _nominate(block: Tensor, rows: Tensor, norms: Tensor, number: int, topk: int) -> Tensor:
    """Indices ``(G, n, number)`` of the codes that may be best, by ``block (G, n, K)``, which is used up."""
    row_norms = rows.norm(dim=-1, keepdim=True)
    found = []
    for turn in range(number):
        value, index = block.max(dim=-1, keepdim=True)
        if turn < topk:
            # Equal codes have equal norms, so the norm of the best bounds the rounding error that could part them.
            norm = norms.gather(1, index.squeeze(-1)).unsqueeze(-1)
            error = 4 * torch.finfo(block.dtype).eps * norm * (row_norms + norm)
            index = (block >= value - error).to(torch.uint8).argmax(dim=-1, keepdim=True)
        found.append(index)
        if turn + 1 < number:
            block.scatter_(-1, index, -torch.inf)
    return torch.cat(found, dim=-1)


def _decide(
    rows: Tensor, codes: Tensor, usable_code: Tensor, candidates: Tensor, metric: str, topk: int
) -> tuple[Tensor, Tensor]:
    """Scores (in the dtype of ``rows``) and indices ``(G, n, topk)`` of the best candidates, compared in float64."""
    groups, number, nominated = candidates.shape
    flat = candidates.sort(dim=-1).values.reshape(groups, number * nominated)
    chosen = codes.gather(1, flat.unsqueeze(-1).expand(-1, -1, codes.shape[-1]))
    chosen = chosen.reshape(groups, number, nominated, codes.shape[-1]).double()
    row = rows.double().unsqueeze(2)
    if metric == "euclidean":
        scores = (row - chosen).square_().sum(-1).neg_()
    else:
        if metric == "cosine":
            row, chosen = normalised(row), normalised(chosen)
        scores = (row * chosen).sum(-1)
    usable = usable_code.gather(1, flat).reshape(groups, number, nominated)
    scores.masked_fill_(~usable, -torch.inf)
    # The candidates are in ascending order, and the sort is stable: ties go to the lowest index.
    scores, order = scores.sort(dim=-1, descending=True, stable=True)
    indices = flat.reshape(groups, number, nominated).gather(-1, order)
    return scores[..., :topk].to(rows.dtype), indices[..., :topk].clone()
