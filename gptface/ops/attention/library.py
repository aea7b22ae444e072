"""What torch knows of masked attention: schemas, fake kernels, gradients. No backend is imported here.

Two operators with one meaning. ``gptface::masked_attention`` is where kernels plug in: a native library or a Triton
launcher registers itself for a dispatch key (CPU, CUDA), forward and ``…_backward``, and the definition stands in
wherever nobody did. ``gptface::masked_attention_reference`` is the definition always, so that ``impl="reference"``
means it whatever has been loaded.

``gptface::masked_attention_forward`` is the first one's output alone, without dropout, for callers that differentiate
nothing: the way through autograd and a log-sum-exp that nobody reads would cost a step of generation more than its
arithmetic.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptface.ops.attention.reference import attention_backward, attention_forward

__all__ = ["NAMES"]

NAMES = ("masked_attention", "masked_attention_reference")

_INPUTS = (
    "Tensor query, Tensor key, Tensor value, Tensor? intervals, Tensor? seed, "
    "float scale, float dropout_p, bool deterministic"
)
_BACKWARD_INPUTS = (
    "Tensor grad_out, Tensor? grad_lse, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse, "
    "Tensor? intervals, Tensor? seed, float scale, float dropout_p, bool deterministic"
)

_library = torch.library.Library("gptface", "FRAGMENT")


def _lse_dtype(query: Tensor) -> torch.dtype:
    return torch.float64 if query.dtype == torch.float64 else torch.float32


def _fake_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    intervals: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout_p: float,
    deterministic: bool,
) -> tuple[Tensor, Tensor]:
    batch, num_queries, heads, _ = query.shape
    return query.new_empty(query.shape), query.new_empty((batch, heads, num_queries), dtype=_lse_dtype(query))


def _fake_backward(
    grad_out: Tensor, grad_lse: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, intervals, seed, scale, dropout_p, deterministic = inputs
    ctx.save_for_backward(query, key, value, *output, intervals, seed)
    ctx.options = (scale, dropout_p, deterministic)
    ctx.set_materialize_grads(False)  # nobody uses the log-sum-exp as a rule: no zeros to allocate and to add


def _second_order(ctx: Any, *gradients: Tensor | None) -> Any:
    raise RuntimeError(
        "masked_attention can be differentiated once: second-order gradients (create_graph=True, then another "
        "backward through the gradient) are not defined for it"
    )


def _define(name: str) -> None:
    _library.define(f"{name}({_INPUTS}) -> (Tensor out, Tensor lse)", tags=(torch.Tag.pt2_compliant_tag,))
    _library.define(
        f"{name}_backward({_BACKWARD_INPUTS}) -> (Tensor grad_query, Tensor grad_key, Tensor grad_value)",
        tags=(torch.Tag.pt2_compliant_tag,),
    )
    _library.impl(name, attention_forward, "CompositeExplicitAutograd")
    _library.impl(f"{name}_backward", attention_backward, "CompositeExplicitAutograd")
    torch.library.register_fake(f"gptface::{name}", _fake_forward, lib=_library)
    torch.library.register_fake(f"gptface::{name}_backward", _fake_backward, lib=_library)

    backward_operator = getattr(torch.ops.gptface, f"{name}_backward")

    def backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_out is None and grad_lse is None:
            return (None,) * 8
        query, key, value, out, lse, intervals, seed = ctx.saved_tensors
        if grad_out is None:
            grad_out = torch.zeros_like(out)
        gradients = backward_operator(grad_out, grad_lse, query, key, value, out, lse, intervals, seed, *ctx.options)
        return (*gradients, None, None, None, None, None)

    torch.library.register_autograd(f"gptface::{name}", backward, setup_context=_save_for_backward, lib=_library)
    # Without this entry torch would take the gradient's own gradient for zero, in silence.
    torch.library.register_autograd(f"gptface::{name}_backward", _second_order, lib=_library)


def _output(query: Tensor, key: Tensor, value: Tensor, intervals: Tensor | None, scale: float) -> Tensor:
    return attention_forward(query, key, value, intervals, None, scale, 0.0)[0]


def _fake_output(query: Tensor, key: Tensor, value: Tensor, intervals: Tensor | None, scale: float) -> Tensor:
    return query.new_empty(query.shape)


for _name in NAMES:
    _define(_name)
_library.define(
    "masked_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? intervals, float scale) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_library.impl("masked_attention_forward", _output, "CompositeExplicitAutograd")
torch.library.register_fake("gptface::masked_attention_forward", _fake_output, lib=_library)
# Past autograd: there is no formula, and what has none is looked at for one in every call.
_library.impl("masked_attention_forward", torch.library.fallthrough_kernel, "Autograd")
