"""Attention and its gradients as tiled kernels compute them, in plain PyTorch: the yardstick of their rounding.

Every kernel here, and every one derived from arXiv 2205.14135, evaluates, for a row with scores S and gradient dO,

    O = e^(S − top) (M V) / total        lse = top + log(total)
    P = e^(S − lse)      delta = sum(dO · O)      dS = P (M dP − delta)      dP = dO Vᵀ
    dQ = scale · dS K      dK = scale · dSᵀ Q      dV = (P M)ᵀ dO

(M: what dropout multiplies by). Differentiating a softmax comes to P = e^(S − top) / total and delta = sum(P · M dP),
the same in exact arithmetic, with less rounding: the errors of dP cancel in the difference, no logarithm is rounded.
A kernel cannot have that delta without two products more, so it is held to its own formulas.

Three things of such an evaluation are left to chance, and a test that compares with one evaluation compares luck. A sum
of n terms rounds differently in every order: one term after the other, as a matrix unit or a lane of a vector does,
loses more than torch's partial sums. A multiply-add rounds once or twice. And a row's log-sum-exp, some 6 or 7, is
rounded by anything from nothing to half of its last place, by which all the row's weights are wrong together.
:func:`evaluations` therefore takes sums as torch does and in both orders, with and without fused multiply-adds, and the
log-sum-exp rounded to the nearest, up and down; the largest error of them is the yardstick.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Order", "dense_attention", "evaluate", "evaluations", "row_sum", "sum_of_products"]

Order = Literal["torch", "first to last", "last to first"]


def _terms(count: int, order: Order) -> range:
    return range(count) if order == "first to last" else range(count - 1, -1, -1)


def sum_of_products(left: Tensor, right: Tensor, order: Order, fused: bool) -> Tensor:
    """``left @ right``; unless by torch, one term after the other, its product rounded before it is added or not."""
    if order == "torch":
        return left @ right
    total = left.new_zeros(*left.shape[:-1], right.shape[-1])
    for k in _terms(left.shape[-1], order):
        column, row = left[..., k : k + 1], right[..., k : k + 1, :]
        if fused:
            total.addcmul_(column, row)
        else:
            total += column * row
    return total


def row_sum(tensor: Tensor, order: Order) -> Tensor:
    """Sum over the last dimension, which stays with size 1."""
    if order == "torch":
        return tensor.sum(-1, keepdim=True)
    total = torch.zeros_like(tensor[..., :1])
    for k in _terms(tensor.shape[-1], order):
        total = total + tensor[..., k : k + 1]
    return total


def dense_attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, scale: float, factor: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention written for one purpose: to be differentiated by torch, in the dtype of its inputs.

    Args:
        visible: ``(B or 1, Sq, Skv)`` bool.
        factor: ``(B, H, Sq, Skv)`` multiplies the softmax weights (dropout).

    Returns:
        ``out (B, Sq, H, D)`` and ``lse (B, H, Sq)``; 0 and −inf on rows that see nothing.
    """
    groups = query.shape[2] // key.shape[2]
    key, value = (tensor.repeat_interleave(groups, dim=2) for tensor in (key, value))
    scores = torch.einsum("bihd,bjhd->bhij", query, key) * scale
    if visible is None:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device)[None]
    visible = visible.unsqueeze(1).expand(scores.shape)
    top = scores.detach().masked_fill(~visible, -1e4).amax(-1, keepdim=True)
    exponentials = torch.where(visible, torch.exp(torch.where(visible, scores - top, 0.0)), 0.0)
    total = exponentials.sum(-1, keepdim=True)
    seen = total > 0
    weights = exponentials / torch.where(seen, total, 1.0)
    lse = torch.where(seen, top + torch.log(torch.where(seen, total, 1.0)), -torch.inf).squeeze(-1)
    return torch.einsum("bhij,bjhd->bihd", weights if factor is None else weights * factor, value), lse


def evaluate(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grad_out: Tensor,
    visible: Tensor | None,
    scale: float,
    factor: Tensor | None = None,
    *,
    order: Order = "torch",
    fused: bool = False,
    rounded: Literal["nearest", "up", "down"] = "nearest",
    weights_from: Literal["lse", "softmax"] = "lse",
    delta_from: Literal["out", "weights"] = "out",
) -> dict[str, Tensor]:
    """Output and gradients in the dtype of the inputs, ``(B, S, H, D)`` each.

    Args:
        visible: ``(B or 1, Sq, Skv)`` bool.
        factor: ``(B, H, Sq, Skv)`` multiplies the weights (dropout).
        order: in which the terms of every sum are added.
        fused: multiply-adds of products round once, where torch's ``addcmul`` does.
        rounded: the log-sum-exp, to its nearest float, or then to the next one above or below.
        weights_from: ``"lse"``, e^(S − lse), or ``"softmax"``, e^(S − top) / total.
        delta_from: ``"out"``, sum(dO · O), or ``"weights"``, sum(P · M dP).
    """
    groups = query.shape[2] // key.shape[2]
    q, g = query.transpose(1, 2), grad_out.transpose(1, 2)
    k, v = (tensor.repeat_interleave(groups, dim=2).transpose(1, 2) for tensor in (key, value))
    kept = torch.ones((), dtype=q.dtype, device=q.device) if factor is None else factor.to(q.dtype)

    scores = sum_of_products(q, k.transpose(-1, -2), order, fused) * scale
    if visible is not None:
        scores = scores.masked_fill(~visible.unsqueeze(1), -torch.inf)
    top = scores.amax(-1, keepdim=True).clamp_min(-3e38)
    powers = torch.exp(scores - top)
    total = row_sum(powers, order)
    empty = total == 0
    total = total.masked_fill(empty, 1.0)
    out = sum_of_products(powers * kept, v, order, fused) / total

    if weights_from == "lse":
        lse = top + torch.log(total)
        if rounded != "nearest":
            lse = torch.nextafter(lse, torch.full_like(lse, torch.inf if rounded == "up" else -torch.inf))
        weights = torch.exp(scores - lse.masked_fill(empty, torch.inf))
    else:
        weights = powers / total
    grad_weights = sum_of_products(g, v.transpose(-1, -2), order, fused) * kept
    delta = row_sum(g * out if delta_from == "out" else weights * grad_weights, order)
    grad_scores = weights * (grad_weights - delta)

    grad_query = sum_of_products(grad_scores, k, order, fused) * scale
    grad_key = sum_of_products(grad_scores.transpose(-1, -2), q, order, fused) * scale
    grad_value = sum_of_products((weights * kept).transpose(-1, -2), g, order, fused)
    grad_key, grad_value = (grad.unflatten(1, (-1, groups)).sum(2) for grad in (grad_key, grad_value))
    named = {"out": out, "grad_query": grad_query, "grad_key": grad_key, "grad_value": grad_value}
    return {name: tensor.transpose(1, 2) for name, tensor in named.items()}


def evaluations(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grad_out: Tensor,
    visible: Tensor | None,
    scale: float,
    factor: Tensor | None = None,
    weights_from: Literal["lse", "softmax"] = "lse",
) -> list[dict[str, Tensor]]:
    """:func:`evaluate` with what is left to chance as torch takes it, and gone this way and that."""
    tensors = (query, key, value, grad_out, visible, scale, factor)
    return [
        evaluate(*tensors, weights_from=weights_from),
        evaluate(*tensors, order="first to last", fused=True, rounded="up", weights_from=weights_from),
        evaluate(*tensors, order="first to last", fused=False, rounded="down", weights_from=weights_from),
        evaluate(*tensors, order="last to first", fused=True, rounded="down", weights_from=weights_from),
        evaluate(*tensors, order="last to first", fused=False, rounded="up", weights_from=weights_from),
    ]
