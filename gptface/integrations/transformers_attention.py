"""``attn_implementation="gptface"`` for the models of ``transformers``.

Importing this module registers the name, for attention and for masks, so that two lines adopt it::

    import gptface.integrations.transformers_attention
    model = AutoModel.from_pretrained(name, attn_implementation="gptface")

How a model's own masks become interval masks says ``transformers_masks``. Where a model takes a four-dimensional
``attention_mask``, it also takes an :class:`IntervalMask`, which then is the whole mask, without S² memory: of
``(B or 1, Sq, Skv)``, the keys of a cache included (beside a cache of fixed size, those up to the last one filled).

Rows of padding that see nothing have output zero, where eager attention has an average of all values.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from gptface.errors import InputError
from gptface.integrations.transformers_masks import interval_mask, mask_of_user
from gptface.ops import IntervalMask, masked_attention

__all__ = ["NAME", "attention", "interval_mask"]

NAME = "gptface"
_REFUSED = ("softcap", "position_bias", "s_aux", "head_mask")
_NO_WEIGHTS = (
    "attn_implementation='gptface' computes no attention weights: output_attentions=True gives none; load the "
    "model with attn_implementation='eager' for them"
)


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
        query: ``(B, H, Sq, D)``; D to 256. What is not a multiple of 8 from 16 on is padded with zeros.
        key: ``(B, Hkv, Skv, D)``.
        value: ``(B, Hkv, Skv, Dv)``.
        attention_mask: what :func:`interval_mask` made, or None for what ``is_causal`` says.

    Returns:
        ``(B, Sq, H, Dv)`` and None, for there are no attention weights to give.

    Raises:
        InputError: for a model that needs soft caps, position biases, sinks or head masks.
    """
    refused = [name for name in _REFUSED if options.get(name) is not None]
    if refused:
        raise InputError(f"attn_implementation='gptface' has no {', '.join(refused)}: load this model with another")
    if options.get("output_attentions") and not torch.compiler.is_compiling():
        _say_that_there_are_no_weights()
    mask = mask_of_user(attention_mask) if isinstance(attention_mask, Tensor) else attention_mask
    if mask is None and query.shape[2] > 1:
        causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
        make = IntervalMask.causal if causal else IntervalMask.full
        mask = make(query.shape[2], key.shape[2], device=query.device)
    seed = torch.randint(2**62, (1,), device=query.device) if dropout > 0.0 else None
    scaling = query.shape[3] ** -0.5 if scaling is None else scaling
    width = max(16, -(-max(query.shape[3], value.shape[3]) // 8) * 8)
    query_, key_, value_ = (_widened(tensor, width).transpose(1, 2) for tensor in (query, key, value))
    out = masked_attention(query_, key_, value_, mask, scale=scaling, dropout_p=dropout, seed=seed)
    return out[..., : value.shape[3]], None


def _widened(tensor: Tensor, width: int) -> Tensor:
    """Zeros after the head dimension, which change no score and are cut off the output."""
    return tensor if tensor.shape[3] == width else nn.functional.pad(tensor, (0, width - tensor.shape[3]))


@functools.cache
def _say_that_there_are_no_weights() -> None:
    warnings.warn(_NO_WEIGHTS, UserWarning, stacklevel=3)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, interval_mask)
