"""``gather_rows``: what people call."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops.derivatives import refuse_other_derivatives
from gptface.ops.gather import library
from gptface.ops.registry import Preference, choose, register_implementation

__all__ = ["gather_rows"]

del library  # imported for its schemas

register_implementation("gather_rows", "reference", lambda: None, "PyTorch's own gather and scatter, on any device")
_PREFERENCES = (Preference("reference", "PyTorch's own kernels run at the speed of memory"),)


def gather_rows(hidden: Tensor, indices: Tensor, *, impl: str = "auto") -> Tensor:
    """The rows of ``hidden`` at packed positions, as :attr:`SpanMask.indices` names them.

    ``out[m] = hidden.flatten(0, -2)[indices[m]]``, and a row of zeros where ``indices[m]`` is −1. Backward is one
    scatter: a row that is named twice gets the sum of both gradients, a row that nobody names gets zeros, and −1 adds
    nothing, whatever gradient arrives there (also an infinite one). Differentiable any number of times, in
    reverse mode. The shape of the result depends on no value, so nothing synchronises.

    Args:
        hidden: ``(B, S, C)``, or ``(N, C)``; any floating dtype.
        indices: int64 or int32 ``(M,)``: ``b · S + s``, or −1.
        impl: ``"auto"`` or ``"reference"``.

    Returns:
        ``(M, C)`` in the dtype of ``hidden``.

    Raises:
        InputError: an argument has the wrong rank, dtype or device.
        RuntimeError: differentiation in forward mode or by ``torch.func.grad``, which there is none of.
        IndexError: on the CPU, an index outside [−1, N); on a CUDA device that is a device-side assertion.
    """
    if not isinstance(hidden, Tensor) or hidden.dim() < 2 or not (hidden.is_floating_point() or hidden.is_complex()):
        found = f"{hidden.dtype} {tuple(hidden.shape)}" if isinstance(hidden, Tensor) else type(hidden).__name__
        raise InputError(f"gather_rows: hidden is {found}; allowed: floating point (B, S, C) or (N, C)")
    if not isinstance(indices, Tensor) or indices.dim() != 1 or indices.dtype not in (torch.int64, torch.int32):
        found = f"{indices.dtype} {tuple(indices.shape)}" if isinstance(indices, Tensor) else type(indices).__name__
        raise InputError(f"gather_rows: indices is {found}; allowed: int64 or int32 (M,)")
    if hidden.device != indices.device:
        raise InputError(f"gather_rows: hidden is on {hidden.device}, indices on {indices.device}; allowed: one device")
    choose("gather_rows", impl, _PREFERENCES, lambda name: None)
    refuse_other_derivatives("gather_rows", hidden)
    return torch.ops.gptface.gather_rows(hidden.flatten(0, -2), indices)
