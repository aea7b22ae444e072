"""What the tests of masked attention share: an oracle that knows nothing of intervals, draws of inputs and masks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gptface.diagnosis.attention_formulas import dense_attention, evaluations
from gptface.ops import IntervalMask, masked_attention
from tests.helpers.numerics import assert_error_within_rule, assert_matches_oracle

GRADIENTS = ("grad_query", "grad_key", "grad_value")


def draw(
    batch: int,
    num_queries: int,
    num_keys: int,
    heads: int,
    key_heads: int,
    width: int,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fresh query, key, value and gradient of the output; ``offset`` is common to all keys and values."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [
        (batch, num_queries, heads, width),
        (batch, num_keys, key_heads, width),
        (batch, num_keys, key_heads, width),
        (batch, num_queries, heads, width),
    ]
    query, key, value, grad = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    tensors = [tensor.to(dtype) for tensor in (query, key + offset, value + offset, grad)]
    return tensors[0], tensors[1], tensors[2], tensors[3]


def random_mask(batch: int, num_queries: int, num_keys: int, k: int, seed: int) -> IntervalMask:
    """Random intervals, about one row in four of which sees nothing."""
    generator = torch.Generator().manual_seed(seed)
    bounds = torch.randint(0, num_keys + 1, (batch, num_queries, k, 2), generator=generator).sort(-1).values
    keep = torch.rand(batch, num_queries, 1, 1, generator=generator) < 0.75
    return IntervalMask((bounds * keep).to(torch.int32), num_keys)


def with_gradients(
    query: Tensor, key: Tensor, value: Tensor, grad: Tensor, mask: IntervalMask | None, **options: object
) -> dict[str, Tensor]:
    """Output and gradients of :func:`masked_attention`."""
    leaves = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
    out = masked_attention(*leaves, mask, **options)  # type: ignore[call-overload]
    return {"out": out.detach(), **dict(zip(GRADIENTS, torch.autograd.grad(out, leaves, grad), strict=True))}


def dense_with_gradients(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grad: Tensor,
    mask: IntervalMask | None,
    dtype: torch.dtype,
    scale: float | None = None,
    factor: Tensor | None = None,
) -> dict[str, Tensor]:
    """Output and gradients of :func:`dense_attention` in ``dtype``."""
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in (query, key, value)]
    visible = None if mask is None else mask.to_dense()
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    out, _ = dense_attention(*leaves, visible, scale, None if factor is None else factor.to(dtype))
    return {"out": out.detach(), **dict(zip(GRADIENTS, torch.autograd.grad(out, leaves, grad.to(dtype)), strict=True))}


def yardsticks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grad: Tensor,
    mask: IntervalMask | None,
    scale: float | None = None,
    factor: Tensor | None = None,
    weights_from: Literal["lse", "softmax"] = "lse",
) -> list[dict[str, Tensor]]:
    """What plain PyTorch makes of output and gradients in the dtype of the inputs; the worst of it is the yardstick.

    In 16 bits that is :func:`dense_attention` alone, which rounds more often than any kernel. In float32 a kernel's own
    formulas stand beside it, see :mod:`gptface.diagnosis.attention_formulas`.
    """
    tensors = (query, key, value, grad)
    found = [dense_with_gradients(*tensors, mask, query.dtype, scale, factor)]
    if query.dtype == torch.float32:
        visible = None if mask is None else mask.to_dense()
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        found += evaluations(*tensors, visible, scale, factor, weights_from)
    return found


def assert_kernel_matches_oracle(
    label: str,
    result: dict[str, Tensor],
    inputs: tuple[Tensor, ...],
    mask: IntervalMask | None,
    scale: float | None = None,
    factor: Tensor | None = None,
    weights_from: Literal["lse", "softmax"] = "lse",
    cancelling: bool = False,
) -> None:
    """The project's rule, for the output and all gradients of a kernel.

    Args:
        cancelling: the gradients are small differences of large terms, so an error relative to them says nothing.
    """
    query, key, value, grad = inputs
    oracle = dense_with_gradients(query, key, value, grad, mask, torch.float64, scale, factor)
    same_dtype = yardsticks(query, key, value, grad, mask, scale, factor, weights_from)
    for name in ("out", *GRADIENTS):
        assert result[name].dtype == query.dtype
        check = assert_error_within_rule if cancelling else assert_matches_oracle
        check(f"{label} {name}", result[name], [each[name] for each in same_dtype], oracle[name])
