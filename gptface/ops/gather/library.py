"""The torch.library side of ``gather_rows``: schemas, fake kernels, and gradients, each operator being the other's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__: list[str] = []

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define("gather_rows(Tensor rows, Tensor indices) -> Tensor")
_library.define("scatter_rows(Tensor values, Tensor indices, SymInt size) -> Tensor")


def _gather(rows: Tensor, indices: Tensor) -> Tensor:
    from gptface.ops.gather.reference import gather_reference

    return gather_reference(rows, indices)


def _scatter(values: Tensor, indices: Tensor, size: int) -> Tensor:
    from gptface.ops.gather.reference import scatter_reference

    return scatter_reference(values, indices, size)


def _gather_fake(rows: Tensor, indices: Tensor) -> Tensor:
    return rows.new_empty((indices.shape[0], rows.shape[1]))


def _scatter_fake(values: Tensor, indices: Tensor, size: int) -> Tensor:
    return values.new_empty((size, values.shape[1]))


def _gather_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    rows, indices = inputs
    ctx.save_for_backward(indices)
    ctx.size = rows.shape[0]


def _gather_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (indices,) = ctx.saved_tensors
    return torch.ops.gptface.scatter_rows(gradient, indices, ctx.size), None


def _scatter_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _scatter_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    (indices,) = ctx.saved_tensors
    return torch.ops.gptface.gather_rows(gradient, indices), None, None


_library.impl("gather_rows", _gather, "CompositeExplicitAutograd")
_library.impl("scatter_rows", _scatter, "CompositeExplicitAutograd")
torch.library.register_fake("gptface::gather_rows", _gather_fake, lib=_library)
torch.library.register_fake("gptface::scatter_rows", _scatter_fake, lib=_library)
torch.library.register_autograd("gptface::gather_rows", _gather_backward, setup_context=_gather_context, lib=_library)
torch.library.register_autograd(
    "gptface::scatter_rows", _scatter_backward, setup_context=_scatter_context, lib=_library
)
