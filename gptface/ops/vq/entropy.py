"""Entropy of soft code assignments, streamed over the codebook: O(N + K·D) memory forward and backward.

With ``p_ik = softmax_k(x_i·c_k + b_k)`` the operator returns the weighted mean entropy of the rows and the weighted
mean distribution. The backward pass computes every block of probabilities again instead of keeping it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gptface.ops.derivatives import refuse_other_derivatives
from gptface.ops.vq.chunked import block_rows, matmul_precision

__all__ = ["assignment_entropy", "entropy_regularizer"]

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define(
    "assignment_entropy(Tensor x, Tensor codes, Tensor bias, Tensor weight) -> (Tensor entropy, Tensor probabilities)"
)
_library.define(
    "assignment_entropy_backward(Tensor grad_entropy, Tensor grad_probabilities, Tensor x, Tensor codes, Tensor bias,"
    " Tensor weight) -> (Tensor grad_x, Tensor grad_codes, Tensor grad_bias)"
)


def assignment_entropy(x: Tensor, codes: Tensor, bias: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean entropy and mean distribution of ``p_ik = softmax_k(x_i·c_k + b_k)``.

    Args:
        x: ``(G, N, D)`` float32 or float64.
        codes: ``(G, K, D)``, bias: ``(G, K)``: same dtype.
        weight: ``(G, N)``: weight of each row, usually summing to 1 a group; not differentiable.

    Returns:
        entropy ``(G,)``: ``Σ_i w_i H(p_i)`` in nats, and probabilities ``(G, K)``: ``Σ_i w_i p_i``. Differentiable
        once with respect to ``x``, ``codes`` and ``bias``.
    """
    refuse_other_derivatives("assignment_entropy", x, codes, bias)
    entropy, probabilities = torch.ops.gptface.assignment_entropy(x, codes, bias, weight)
    return entropy, probabilities


def entropy_regularizer(rows: Tensor, codes: Tensor, usable: Tensor, temperature: float, diversity: float) -> Tensor:
    """``E[H(p)] − diversity · H(E[p])`` with ``p = softmax(−‖x − c‖² / temperature)``, the mean over groups: a scalar.

    The first term makes assignments confident, the second spreads them over the codebook (Yu et al., "Language Model
    Beats Diffusion", arXiv 2310.05737).

    Args:
        rows: ``(G, N, D)``, codes: ``(G, K, D)``: float32 or float64.
        usable: bool ``(G, N)``; other rows add nothing.
        temperature: in units of the squared distance.
        diversity: weight of the second term.
    """
    weight = usable.to(rows.dtype)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1.0)
    # Distances do not change when everything is moved; centred, the expanded form keeps its digits.
    centre = codes.detach().mean(1, keepdim=True)
    rows = torch.where(usable.unsqueeze(-1), rows - centre, 0.0)
    codes = codes - centre
    bias = codes.square().sum(-1) / -temperature
    entropy, probabilities = assignment_entropy(rows, codes * (2.0 / temperature), bias, weight)
    return (entropy - diversity * torch.special.entr(probabilities).sum(-1)).mean()


def _blocks(x: Tensor, codes: Tensor, bias: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Log-probabilities ``(G, n, K)`` of one block of rows after another."""
    groups, number, length = x.shape
    chunk = block_rows(x.device, groups, codes.shape[1], length)
    transposed = codes.transpose(1, 2)
    for start in range(0, number, chunk):
        rows = slice(start, min(start + chunk, number))
        yield rows, torch.baddbmm(bias.unsqueeze(1), x[:, rows], transposed).log_softmax(-1)


def _forward(x: Tensor, codes: Tensor, bias: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    entropy = x.new_zeros(x.shape[0])
    probabilities = torch.zeros_like(bias)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False), matmul_precision(x.device, "exact"):
        for rows, logarithm in _blocks(x, codes, bias):
            weighted = logarithm.exp() * weight[:, rows].unsqueeze(-1)
            probabilities += weighted.sum(1)
            entropy -= (weighted * logarithm).sum((1, 2))
    return entropy, probabilities


def _backward(
    grad_entropy: Tensor, grad_probabilities: Tensor, x: Tensor, codes: Tensor, bias: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad_x, grad_codes, grad_bias = torch.zeros_like(x), torch.zeros_like(codes), torch.zeros_like(bias)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False), matmul_precision(x.device, "exact"):
        for rows, logarithm in _blocks(x, codes, bias):
            probability = logarithm.exp()
            # d/dp of both outputs; softmax then takes away the mean under p, and with it every constant.
            slope = grad_probabilities.unsqueeze(1) - grad_entropy[:, None, None] * logarithm
            slope -= (slope * probability).sum(-1, keepdim=True)
            grad_logits = slope.mul_(probability).mul_(weight[:, rows].unsqueeze(-1))
            grad_x[:, rows] = grad_logits @ codes
            grad_codes += grad_logits.transpose(1, 2) @ x[:, rows]
            grad_bias += grad_logits.sum(1)
    return grad_x, grad_codes, grad_bias


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad_entropy: Tensor, grad_probabilities: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.gptface.assignment_entropy_backward(grad_entropy, grad_probabilities, *ctx.saved_tensors)
    return *gradients, None


def _forward_fake(x: Tensor, codes: Tensor, bias: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0]), torch.empty_like(bias)


def _backward_fake(
    grad_entropy: Tensor, grad_probabilities: Tensor, x: Tensor, codes: Tensor, bias: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(codes), torch.empty_like(bias)


_library.impl("assignment_entropy", _forward, "CompositeExplicitAutograd")
_library.impl("assignment_entropy_backward", _backward, "CompositeExplicitAutograd")
torch.library.register_fake("gptface::assignment_entropy", _forward_fake, lib=_library)
torch.library.register_fake("gptface::assignment_entropy_backward", _backward_fake, lib=_library)
torch.library.register_autograd("gptface::assignment_entropy", _gradient, setup_context=_setup_context, lib=_library)
