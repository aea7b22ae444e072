"""Packed attention under the name and with the arguments of the ``flash_attn`` package, on any device.

``from gptface.integrations.flash_attn import flash_attn_varlen_func`` is the whole change to a program. The maximal
lengths, for which programs synchronise, are not needed here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from gptface.errors import InputError
from gptface.ops import IntervalMask, masked_attention

__all__ = ["flash_attn_varlen_func"]


def _document_bounds(cu_seqlens: Tensor, name: str) -> tuple[Tensor, Tensor]:
    if cu_seqlens.ndim != 1 or cu_seqlens.shape[0] < 2 or cu_seqlens.is_floating_point():
        raise InputError(
            f"{name} must be (n + 1,) integers, cumulative lengths from 0, got {cu_seqlens.dtype} "
            f"{tuple(cu_seqlens.shape)}"
        )
    return cu_seqlens[:-1], cu_seqlens[1:]


def _mask(
    cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, total_q: int, total_k: int, left: int, right: int
) -> IntervalMask:
    """Each query sees its document's keys, in a window around its position; the last query stands at the last key."""
    query_start, query_end = _document_bounds(cu_seqlens_q, "cu_seqlens_q")
    key_start, key_end = _document_bounds(cu_seqlens_k, "cu_seqlens_k")
    if query_start.shape != key_start.shape:
        raise InputError(
            f"cu_seqlens_q and cu_seqlens_k must be of one length, got {tuple(cu_seqlens_q.shape)} and "
            f"{tuple(cu_seqlens_k.shape)}"
        )
    rows = torch.arange(total_q, device=cu_seqlens_q.device, dtype=query_end.dtype)
    document = torch.searchsorted(query_end.contiguous(), rows, right=True)
    exists = document < query_end.shape[0]  # rows after the last document see nothing
    document = document.clamp(max=query_end.shape[0] - 1)
    low, high = key_start[document], key_end[document]
    position = high - query_end[document] + rows
    if left >= 0:
        low = torch.maximum(low, position - left)
    if right >= 0:
        high = torch.minimum(high, position + right + 1)
    low, high = low * exists, torch.maximum(low, high) * exists
    return IntervalMask(torch.stack([low, high], -1).to(torch.int32)[None, :, None], total_k)


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int | None = None,
    max_seqlen_k: int | None = None,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Tensor | None = None,
    *,
    seed: int | Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """Attention within the documents of a packed batch; forward and backward.

    Args:
        q: ``(total_q, H, D)``, D up to 256; one that is no multiple of 8 is padded by a copy.
        k: ``(total_k, Hkv, D)``, H divisible by Hkv.
        v: as ``k``.
        cu_seqlens_q: ``(n + 1,)`` integer: document d holds rows ``cu_seqlens_q[d]`` to ``cu_seqlens_q[d + 1] - 1``.
        cu_seqlens_k: the same for keys.
        max_seqlen_q: taken for compatibility and not looked at.
        max_seqlen_k: likewise.
        causal: a query sees no later position. With unequal lengths the last query stands at the last key.
        window_size: keys to see to the left and right of a query's position; −1 for no limit.
        seed: for dropout; without it, one is drawn from torch's generator of the device.
        impl: as for :func:`gptface.ops.masked_attention`.

    Returns:
        ``(total_q, H, D)``; zeros in rows that see nothing.

    Raises:
        InputError: for ``softcap``, ``alibi_slopes``, ``return_attn_probs`` and ``block_table``, which are not here.
    """
    unsupported = {
        "softcap": softcap != 0.0,
        "alibi_slopes": alibi_slopes is not None,
        "return_attn_probs": return_attn_probs,
        "block_table": block_table is not None,
    }
    asked = [name for name, wanted in unsupported.items() if wanted]
    if asked:
        raise InputError(f"flash_attn_varlen_func here has no {', '.join(asked)}")
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.ndim != 3:
            raise InputError(f"{name} must be (total, heads, D), got {tuple(tensor.shape)}")
    left, right = window_size
    if causal:
        right = 0
    mask = _mask(cu_seqlens_q, cu_seqlens_k, q.shape[0], k.shape[0], left, right)
    if dropout_p > 0.0 and seed is None:
        seed = torch.randint(2**62, (1,), device=q.device)
    width = q.shape[2]
    if k.shape[2] == v.shape[2] == width and 0 < width <= 256:
        missing = max(16, -(-width // 8) * 8) - width  # widths that masked_attention does not take; zeros add nothing
        if missing:
            q, k, v = (pad(tensor, (0, missing)) for tensor in (q, k, v))
            softmax_scale = width**-0.5 if softmax_scale is None else softmax_scale
    out = masked_attention(
        q[None], k[None], v[None], mask, scale=softmax_scale, dropout_p=dropout_p,
        seed=seed if dropout_p > 0.0 else None, deterministic=deterministic, impl=impl,
    )  # fmt: skip
    return out[0, ..., :width]
