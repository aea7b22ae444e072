"""Masked attention by definition: plain PyTorch, every score in memory, the oracle of every test.

Arithmetic is float32 (float64 for float64 inputs) whatever the dtype of the inputs; only results are rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.ops.attention.interval_algebra import dense_from_intervals
from gptface.ops.philox import philox4x32

__all__ = ["attention_backward", "attention_forward", "dropout_keep", "dropout_threshold"]


def dropout_threshold(dropout_p: float) -> int:
    """A weight is dropped iff its 32-bit random word is below this: floor(p · 2³²)."""
    return int(dropout_p * 2**32)


def dropout_keep(seed: Tensor, dropout_p: float, batch: int, heads: int, num_queries: int, num_keys: int) -> Tensor:
    """The keep decision of every attention weight; this is the definition for all implementations.

    Weight (b, h, i, j) takes word ``j % 4`` of the Philox4x32-10 block with

        counter = (j // 4, i, h, b)       words 0 to 3
        key     = (seed mod 2³², seed >> 32)

    and is kept iff ``word >= floor(p · 2³²)``, compared as unsigned 32-bit integers. h counts query heads. Kept
    weights are multiplied by ``1 / (1 - p)``.

    Args:
        seed: int64 tensor with one element.

    Returns:
        ``(B, H, Sq, Skv)`` bool.
    """
    device = seed.device
    b = torch.arange(batch, device=device).view(-1, 1, 1, 1)
    h = torch.arange(heads, device=device).view(-1, 1, 1)
    i = torch.arange(num_queries, device=device).view(-1, 1)
    groups = torch.arange(-(-num_keys // 4), device=device)
    seed = seed.reshape(())
    words = philox4x32((groups, i, h, b), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    shape = (batch, heads, num_queries, groups.shape[0])
    return torch.stack([word.expand(shape) for word in words], dim=-1).flatten(-2)[..., :num_keys] >= (
        dropout_threshold(dropout_p)
    )


def _grouped(tensor: Tensor, key_heads: int, groups: int) -> Tensor:
    """``(B, S, H, D)`` to ``(B, Hkv, groups, S, D)`` in the dtype of the arithmetic."""
    wide = tensor if tensor.dtype == torch.float64 else tensor.float()
    return wide.unflatten(2, (key_heads, groups)).permute(0, 2, 3, 1, 4)


def _ungrouped(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """``(B, Hkv, groups, S, D)`` to ``(B, S, H, D)``, contiguous."""
    return tensor.permute(0, 3, 1, 2, 4).flatten(2, 3).to(dtype).contiguous()


def _scores(query: Tensor, key: Tensor, intervals: Tensor | None, scale: float) -> Tensor:
    """``(B, Hkv, groups, Sq, Skv)`` scaled scores, −inf where the key is hidden; from :func:`_grouped` tensors."""
    scores = (query @ key.transpose(-1, -2)) * scale
    if intervals is not None:
        visible = dense_from_intervals(intervals, key.shape[-2])[:, None, None]
        scores = scores.masked_fill(~visible, -torch.inf)
    return scores


def _weights(scores: Tensor) -> Tensor:
    """Softmax; a row that sees nothing has weights 0.

    Not ``exp(scores - lse)``: where scores have a large common part, the rounding of the log-sum-exp costs digits.
    """
    empty = (scores == -torch.inf).all(-1, keepdim=True)
    return torch.softmax(scores, dim=-1).masked_fill(empty, 0.0)


def _dropout_factor(seed: Tensor | None, dropout_p: float, scores: Tensor) -> Tensor | None:
    """What the weights are multiplied by, ``(B, Hkv, groups, Sq, Skv)``: 0 or 1 / (1 − p); None without dropout."""
    if dropout_p == 0.0 or seed is None:
        return None
    batch, key_heads, groups, num_queries, num_keys = scores.shape
    keep = dropout_keep(seed, dropout_p, batch, key_heads * groups, num_queries, num_keys)
    return keep.unflatten(1, (key_heads, groups)).to(scores.dtype) / (1.0 - dropout_p)


def attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    intervals: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout_p: float,
    deterministic: bool = False,
) -> tuple[Tensor, Tensor]:
    """``out (B, Sq, H, D)`` in the dtype of ``query`` and ``lse (B, H, Sq)`` in that of the arithmetic.

    Args:
        query: ``(B, Sq, H, D)``.
        key: ``(B, Skv, Hkv, D)``, H divisible by Hkv; query head h reads key head ``h // (H // Hkv)``.
        value: as ``key``.
        intervals: ``(B or 1, Sq, K, 2)`` int32, or None for a mask that hides nothing.
        seed: int64 with one element; needed where ``dropout_p > 0``.
        scale: what scores are multiplied by before the softmax.
        dropout_p: see :func:`dropout_keep`. The log-sum-exp is that of the scores without dropout.
        deterministic: this arithmetic always is.
    """
    key_heads = key.shape[2]
    groups = query.shape[2] // key_heads
    q, k, v = _grouped(query, key_heads, groups), _grouped(key, key_heads, 1), _grouped(value, key_heads, 1)
    scores = _scores(q, k, intervals, scale)
    lse = torch.logsumexp(scores, dim=-1)
    weights = _weights(scores)
    factor = _dropout_factor(seed, dropout_p, scores)
    out = (weights if factor is None else weights * factor) @ v
    return _ungrouped(out, query.dtype), lse.flatten(1, 2).contiguous()


def attention_backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    intervals: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout_p: float,
    deterministic: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, contiguous and in their dtypes.

    With weights P, dropout factors M and scores S = scale · q kᵀ, for a row of the score matrix:
    ``dV = (P·M)ᵀ dO``, ``dP = M · (dO Vᵀ)``, ``dS = P · (dP − sum(P · dP) + dlse)``,
    ``dQ = scale · dS K``, ``dK = scale · dSᵀ Q``; the key heads add up their groups. ``out`` and
    ``lse`` are not needed here (a kernel takes ``sum(P · dP) = sum(dO · O)`` and P from them).
    """
    key_heads = key.shape[2]
    groups = query.shape[2] // key_heads
    q, g = _grouped(query, key_heads, groups), _grouped(grad_out, key_heads, groups)
    k, v = _grouped(key, key_heads, 1), _grouped(value, key_heads, 1)
    scores = _scores(q, k, intervals, scale)
    weights = _weights(scores)
    factor = _dropout_factor(seed, dropout_p, scores)

    grad_weights = g @ v.transpose(-1, -2)
    dropped = weights
    if factor is not None:
        grad_weights, dropped = grad_weights * factor, weights * factor
    centre = (weights * grad_weights).sum(-1, keepdim=True)
    if grad_lse is not None:
        centre = centre - grad_lse.unflatten(1, (key_heads, groups)).unsqueeze(-1)
    grad_scores = weights * (grad_weights - centre) * scale

    grad_query = grad_scores @ k
    grad_key = (grad_scores.transpose(-1, -2) @ q).sum(2, keepdim=True)
    grad_value = (dropped.transpose(-1, -2) @ g).sum(2, keepdim=True)
    return (
        _ungrouped(grad_query, query.dtype),
        _ungrouped(grad_key, key.dtype),
        _ungrouped(grad_value, value.dtype),
    )
