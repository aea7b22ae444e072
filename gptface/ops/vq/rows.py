"""What every quantiser does with its input and its codes: rows of groups, and how much of the codebook they use."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.errors import InputError

__all__ = ["code_usage", "vector_rows"]


def vector_rows(name: str, x: Tensor, mask: Tensor | None, dim: int, groups: int) -> tuple[Tensor, Tensor]:
    """Rows ``(N, G, D / G)`` of ``x (..., D)`` in float32 or float64, and which of them count: bool ``(N, G)``.

    Args:
        name: of the module, for messages.
        x: floating point, any strides.
        mask: bool ``(...)``; where it is ``False``, or a group is not finite, a row does not count.
        dim, groups: D and G.

    Raises:
        InputError: the wrong shape or dtype.
    """
    if x.ndim < 1 or x.shape[-1] != dim:
        raise InputError(f"{name}: x has shape {tuple(x.shape)}; its last dimension must be dim={dim}")
    if not x.is_floating_point():
        raise InputError(f"{name}: x is {x.dtype}; it must be floating point")
    if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:-1]):
        raise InputError(
            f"{name}: mask is {mask.dtype} of shape {tuple(mask.shape)}; it must be bool of shape {tuple(x.shape[:-1])}"
        )
    rows = x.reshape(-1, groups, dim // groups).to(torch.promote_types(x.dtype, torch.float32))
    usable = rows.detach().isfinite().all(-1)
    return rows, usable if mask is None else usable & mask.reshape(-1, 1)


def code_usage(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Perplexity and the share of codes in use, scalars, of floating-point ``counts (G, K)``; means over groups."""
    share = counts / counts.sum(-1, keepdim=True).clamp_min(1.0)
    return torch.special.entr(share).sum(-1).exp().mean(), (counts > 0).to(share.dtype).mean()
