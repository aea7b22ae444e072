"""``attn_implementation="gptface"`` for the models of ``transformers``.

Importing this module registers the name, for attention and for masks, so that two lines adopt it::

    import gptface.integrations.transformers_attention
    model = AutoModel.from_pretrained(name, attn_implementation="gptface")

A model's causal or bidirectional mask with padding becomes an :class:`IntervalMask` in O(S) work; any other (sliding
windows, packed or blockwise masks) goes through a dense mask once a forward pass, and must need at most two intervals a
row. Rows of padding that see nothing have output zero, where eager attention has an average of all values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import (
    bidirectional_mask_function,
    causal_mask_function,
    prepare_padding_mask,
    sdpa_mask,
)

from gptface.errors import InputError
from gptface.ops import IntervalMask, masked_attention

__all__ = ["NAME", "attention", "interval_mask"]

NAME = "gptface"
_REFUSED = ("softcap", "position_bias", "s_aux", "head_mask")
_from_dense: WeakIdKeyDictionary = WeakIdKeyDictionary()  # a dense mask that a user gave, to what all layers share


def _padding_run(visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First visible key of each sample, the one past the last, and whether all between are visible: ``(B,)`` each."""
    length = visible.shape[1]
    positions = torch.arange(length, device=visible.device)
    first = torch.where(visible, positions, length).amin(1)
    end = torch.where(visible, positions + 1, 0).amax(1)
    return first, end, visible.sum(1) == (end - first).clamp(min=0)


def interval_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Any = causal_mask_function,
    attention_mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    **options: Any,
) -> IntervalMask:
    """What ``transformers`` calls to make a model's mask; arguments as ``masking_utils.sdpa_mask``.

    Raises:
        InputError: for a mask with a row of more than two intervals.
    """
    padding = prepare_padding_mask(attention_mask, kv_length, kv_offset)
    known = mask_function is causal_mask_function or mask_function is bidirectional_mask_function
    first = end = None
    if known and padding is not None:
        first, end, contiguous = _padding_run(padding[:, kv_offset : kv_offset + kv_length].bool())
        if contiguous.device.type == "cpu" and not torch.compiler.is_compiling():
            known = bool(contiguous.all())
        else:  # no synchronisation, and never a wrong result
            torch._assert_async(contiguous.all(), "attention_mask has holes: its ones must be one run in each row")
    if not known:
        dense = sdpa_mask(
            batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset,
            mask_function=mask_function, attention_mask=attention_mask, device=device,
            use_vmap=options.get("use_vmap", False), allow_is_causal_skip=False, allow_is_bidirectional_skip=False,
        )  # fmt: skip
        assert dense is not None  # it is when no skip is allowed
        return IntervalMask.from_dense(dense[:, 0])

    causal = mask_function is causal_mask_function
    if padding is None:
        if not causal:
            return IntervalMask.full(q_length, kv_length, device=device)
        if isinstance(q_offset, int) and q_offset + q_length == kv_offset + kv_length:
            return IntervalMask.causal(q_length, kv_length, device=device)
    high = torch.full((1, q_length), kv_length, device=device, dtype=torch.int64)
    if causal:
        high = (torch.arange(1, q_length + 1, device=device) + q_offset - kv_offset).clamp(0, kv_length)[None]
    low = torch.zeros_like(high)
    if first is not None and end is not None:
        low, high = torch.maximum(low, first[:, None]), torch.minimum(high, end[:, None])
    low = torch.minimum(low, high)
    return IntervalMask(torch.stack([low, high], -1).unsqueeze(2).to(torch.int32), kv_length)


def _as_interval_mask(mask: Tensor) -> IntervalMask:
    """A dense mask that the user gave the model. Synchronises, once a mask."""
    if mask not in _from_dense:
        if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1] != 1:
            raise InputError(
                "attention_mask must be two-dimensional, or bool (B, 1, Sq, Skv), for attn_implementation='gptface', "
                f"got {mask.dtype} {tuple(mask.shape)}"
            )
        _from_dense[mask] = IntervalMask.from_dense(mask[:, 0])
    return _from_dense[mask]


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: IntervalMask | Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What ``transformers`` calls in every attention layer.

    Args:
        query: ``(B, H, Sq, D)``.
        key: ``(B, Hkv, Skv, D)``.
        value: as ``key``.
        attention_mask: what :func:`interval_mask` made, or None for what ``is_causal`` says.

    Returns:
        ``(B, Sq, H, D)`` and None, for there are no attention weights to give.

    Raises:
        InputError: for a model that needs soft caps, position biases, sinks or head masks.
    """
    refused = [name for name in _REFUSED if options.get(name) is not None]
    if refused:
        raise InputError(f"attn_implementation='gptface' has no {', '.join(refused)}: load this model with another")
    mask = _as_interval_mask(attention_mask) if isinstance(attention_mask, Tensor) else attention_mask
    if mask is None and query.shape[2] > 1:
        causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
        if causal:
            mask = IntervalMask.causal(query.shape[2], key.shape[2], device=query.device)
    seed = torch.randint(2**62, (1,), device=query.device) if dropout > 0.0 else None
    out = masked_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), mask, scale=scaling, dropout_p=dropout,
        seed=seed,
    )  # fmt: skip
    return out, None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, interval_mask)
