"""The ``"sdpa"`` implementation: torch's ``scaled_dot_product_attention``, on a dense mask made once a mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.ops.attention.mask import IntervalMask
from gptface.ops.registry import register_implementation

__all__ = ["attention", "unsupported"]

register_implementation(
    "masked_attention", "sdpa", lambda: None, "torch's scaled_dot_product_attention on a dense mask made once a mask"
)


def unsupported(
    query: Tensor, key: Tensor, scale: float | None, dropout_p: float, deterministic: bool, return_lse: bool
) -> str | None:
    """Why torch's function cannot run a call as the operator means it; ``None`` where it can."""
    if return_lse:
        return "it does not return the log-sum-exp (return_lse=True)"
    if dropout_p > 0.0:
        return "its dropout is not a function of the seed (dropout_p > 0)"
    if query.dtype == torch.float64:
        return "float64 is for the reference"
    if deterministic and query.device.type != "cpu":
        return f"its gradients are not deterministic on {query.device.type} (deterministic=True)"
    if scale is not None and scale <= 0.0:
        return "it gives NaN for a causal mask and a scale that is not positive"
    if query.shape[0] == 0 or query.shape[1] == 0 or key.shape[1] == 0:
        return "query or key is empty"
    return None


def attention(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask | None, scale: float) -> Tensor:
    """``out (B, Sq, H, D)`` of checked arguments; differentiated by torch."""
    if query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16):
        # torch's half-precision backward on the CPU takes longer than its float32 one with the conversions.
        with torch.autocast("cpu", enabled=False):
            return attention(query.float(), key.float(), value.float(), mask, scale).to(query.dtype)
    q, k, v = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    grouped = False
    if query.shape[2] != key.shape[2]:  # a branch makes a bool of it where sizes are symbols; SDPA takes nothing else
        grouped = True
    if mask is None or mask.kind != "general":
        is_causal = mask is not None and mask.kind == "causal"
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    attended, empty = mask.dense()
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=attended, scale=scale, enable_gqa=grouped)
    # Backends disagree on rows that see nothing (some give NaN, forward or backward): such rows ran over all keys.
    return out.transpose(1, 2).masked_fill(empty, 0.0)
