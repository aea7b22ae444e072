"""The torch.library side of the lookup: schema, fake kernel, gradient of the scores, and the choice of the kernel.

The operator is opaque to ``torch.compile``: chunk loops inside it are neither traced nor specialised, so a new number
of rows or codes recompiles nothing. Importing this file imports no backend.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from gptface.ops.vq.codebook import cluster_sums

__all__ = ["score_dtype"]

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define(
    "vq_lookup(Tensor x, Tensor codebook, str metric, int topk, str precision, bool nearest_rows, str impl,"
    " Tensor? packed=None) -> (Tensor scores, Tensor indices, Tensor counts, Tensor nearest_rows)"
)

# impl= -> (module, function); the module is imported when the implementation first runs.
_KERNELS = {
    "reference": ("gptface.ops.vq.reference", "lookup_reference"),
    "torch": ("gptface.ops.vq.chunked", "lookup_chunked"),
    "cpu": ("gptface.ops.vq.cpu", "lookup_cpu"),
    "cuda": ("gptface.ops.vq.cuda", "lookup_cuda"),
    "triton": ("gptface.ops.vq.triton_lookup", "lookup_triton"),
}

Found = tuple[Tensor, Tensor, Tensor, Tensor]


def score_dtype(x: Tensor, codebook: Tensor) -> torch.dtype:
    """float64 where an argument is float64, else float32."""
    return torch.promote_types(torch.promote_types(x.dtype, codebook.dtype), torch.float32)


def _lookup(
    x: Tensor,
    codebook: Tensor,
    metric: str,
    topk: int,
    precision: str,
    nearest_rows: bool,
    impl: str,
    packed: Tensor | None = None,
) -> Found:
    """``packed``, for ``impl="cpu"`` alone, is what :func:`gptface.ops.vq.cpu.pack` made of the codebook."""
    module, function = _KERNELS[impl]
    kernel: Callable[..., Found] = getattr(import_module(module), function)
    # The caller's autocast reaches into the kernel of an operator; it must not lower the precision asked for.
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        if packed is not None:
            return kernel(x, codebook, metric, topk, precision, nearest_rows, packed)
        return kernel(x, codebook, metric, topk, precision, nearest_rows)


def _lookup_fake(
    x: Tensor,
    codebook: Tensor,
    metric: str,
    topk: int,
    precision: str,
    nearest_rows: bool,
    impl: str,
    packed: Tensor | None = None,
) -> Found:
    groups, rows, _ = x.shape
    codes = codebook.shape[1]
    return (
        x.new_empty((groups, rows, topk), dtype=score_dtype(x, codebook)),
        x.new_empty((groups, rows, topk), dtype=torch.int64),
        x.new_empty((groups, codes), dtype=torch.int64),
        x.new_empty((groups, codes if nearest_rows else 0), dtype=torch.int64),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Found) -> None:
    x, codebook, metric = inputs[:3]
    scores, indices, _, _ = output
    ctx.mark_non_differentiable(indices, output[2], output[3])
    ctx.save_for_backward(x, codebook, indices, scores)
    ctx.metric = metric


def _lookup_backward(ctx: Any, grad_scores: Tensor, _indices: None, _counts: None, _rows: None) -> tuple[Any, ...]:
    """Gradient of the scores for fixed indices: a gather of the chosen codes, no matrix of rows × codes, and the same
    bits every time."""
    x, codebook, indices, scores = ctx.saved_tensors
    dtype = scores.dtype
    groups, rows, topk = indices.shape
    length = x.shape[-1]
    flat = indices.reshape(groups, rows * topk, 1).expand(-1, -1, length)
    chosen = codebook.to(dtype).gather(1, flat).reshape(groups, rows, topk, length)
    row = x.to(dtype).unsqueeze(2)
    weight = torch.where(scores.isfinite(), grad_scores.to(dtype), 0.0).unsqueeze(-1)
    if ctx.metric == "euclidean":
        grad_row = weight * 2.0 * (chosen - row)
        grad_chosen = -grad_row
    elif ctx.metric == "dot":
        grad_row, grad_chosen = weight * chosen, weight * row
    else:
        tiny = torch.finfo(dtype).tiny
        row_norm = row.norm(dim=-1, keepdim=True).clamp_min(tiny)
        chosen_norm = chosen.norm(dim=-1, keepdim=True).clamp_min(tiny)
        row_unit, chosen_unit, cosine = row / row_norm, chosen / chosen_norm, scores.unsqueeze(-1)
        grad_row = weight * (chosen_unit - cosine * row_unit) / row_norm
        grad_chosen = weight * (row_unit - cosine * chosen_unit) / chosen_norm
    grad_x = grad_codebook = None
    if ctx.needs_input_grad[0]:
        grad_x = torch.where(scores[..., :1].isfinite(), grad_row.sum(2), 0.0).to(x.dtype)
    if ctx.needs_input_grad[1]:
        # Segment sums instead of a scatter, whose order of additions a GPU leaves to chance.
        contribution = grad_chosen.reshape(groups, rows * topk, length)
        usable = scores.isfinite().reshape(groups, rows * topk)
        _, sums = cluster_sums(contribution, indices.reshape(groups, rows * topk), usable, codebook.shape[1])
        grad_codebook = sums.to(codebook.dtype)
    return grad_x, grad_codebook, None, None, None, None, None, None


_library.impl("vq_lookup", _lookup, "CompositeExplicitAutograd")
torch.library.register_fake("gptface::vq_lookup", _lookup_fake, lib=_library)
torch.library.register_autograd("gptface::vq_lookup", _lookup_backward, setup_context=_setup_context, lib=_library)
