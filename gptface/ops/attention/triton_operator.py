"""The Triton implementation as torch sees it: schemas, fake kernels, gradients, and where it can run.

Beside ``library.py`` because its operators take more than the semantics need: the block bounds of a mask, made once
and given to every layer. Nothing here imports triton before a kernel is launched.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptface.ops import triton_support
from gptface.ops.registry import register_implementation

__all__ = ["unsupported"]

_library = torch.library.Library("gptface", "FRAGMENT")
_BLOCK = 64  # queries and keys of a block: gptface.kernels.attention_device.BOUND_BLOCK

_library.define(
    "attention_block_bounds(Tensor intervals, SymInt num_keys) -> (Tensor rows, Tensor columns)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    "masked_attention_triton(Tensor query, Tensor key, Tensor value, Tensor? intervals, Tensor? rows, Tensor? columns, "
    "Tensor? seed, float scale, float dropout_p) -> (Tensor out, Tensor lse, Tensor state)",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.define(
    "masked_attention_triton_backward(Tensor grad_out, Tensor? grad_lse, Tensor query, Tensor key, Tensor value, "
    "Tensor out, Tensor lse, Tensor state, Tensor? intervals, Tensor? rows, Tensor? columns, Tensor? seed, "
    "float scale, float dropout_p) -> (Tensor grad_query, Tensor grad_key, Tensor grad_value)",
    tags=(torch.Tag.pt2_compliant_tag,),
)


def _bounds(intervals: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    from gptface.kernels import attention

    return attention.block_bounds(intervals, num_keys)


def _fake_bounds(intervals: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    batch, num_queries, k, _ = intervals.shape
    row_blocks, key_blocks = (num_queries + _BLOCK - 1) // _BLOCK, (num_keys + _BLOCK - 1) // _BLOCK
    return intervals.new_empty((batch, row_blocks, k, 4)), intervals.new_empty((batch, key_blocks, k, 4))


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    intervals: Tensor | None,
    rows: Tensor | None,
    columns: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor]:
    from gptface.kernels import attention

    return attention.forward(query, key, value, intervals, rows, seed, scale, dropout_p)


def _backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    from gptface.kernels import attention

    return attention.backward(*arguments)


def _fake_forward(query: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    batch, num_queries, heads, _ = query.shape
    lse = query.new_empty((batch, heads, num_queries), dtype=torch.float32)
    state = lse.new_empty((2, *lse.shape) if query.dtype == torch.float32 else (2, 0))
    return query.new_empty(query.shape), lse, state


def _fake_backward(
    grad_out: Tensor, grad_lse: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


for _name, _kernel, _fake in (
    ("attention_block_bounds", _bounds, _fake_bounds),
    ("masked_attention_triton", _forward, _fake_forward),
    ("masked_attention_triton_backward", _backward, _fake_backward),
):
    _library.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"gptface::{_name}", _fake, lib=_library)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    query, key, value, intervals, rows, columns, seed, scale, dropout_p = inputs
    ctx.save_for_backward(query, key, value, *output, intervals, rows, columns, seed)
    ctx.options = (scale, dropout_p)
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None, grad_state: None
) -> tuple[Tensor | None, ...]:
    if grad_out is None and grad_lse is None:
        return (None,) * 9
    query, key, value, out, lse, state, intervals, rows, columns, seed = ctx.saved_tensors
    if grad_out is None:
        grad_out = torch.zeros_like(out)
    gradients = torch.ops.gptface.masked_attention_triton_backward(
        grad_out, grad_lse, query, key, value, out, lse, state, intervals, rows, columns, seed, *ctx.options
    )
    return (*gradients, None, None, None, None, None, None)


def _second_order(ctx: Any, *gradients: Tensor | None) -> Any:
    raise RuntimeError(
        "masked_attention can be differentiated once: second-order gradients (create_graph=True, then another "
        "backward through the gradient) are not defined for it"
    )


torch.library.register_autograd(
    "gptface::masked_attention_triton", _differentiate, setup_context=_save_for_backward, lib=_library
)
torch.library.register_autograd("gptface::masked_attention_triton_backward", _second_order, lib=_library)


# --- where it can run -------------------------------------------------------------------------------------------------


def unsupported(query: Tensor) -> str | None:
    """Why the kernels cannot run a call with this query; ``None`` where they can."""
    reason = triton_support.unsupported_device(query.device.type, query.device.index or 0)
    return reason or ("float64 is for the reference" if query.dtype == torch.float64 else None)


register_implementation(
    "masked_attention",
    "triton",
    triton_support.missing,
    "Triton kernels that skip what the mask hides, forward and backward, dropout and log-sum-exp included",
    proof="attention",
)
