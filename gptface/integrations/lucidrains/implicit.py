"""Codebooks that depend on what the stages before have chosen (QINCo: Huijben et al., arXiv 2401.14732)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ImplicitCodebook"]


class ImplicitCodebook(nn.Module):
    """Makes of one codebook another for every vector, from the sum of its codes so far.

    Args:
        dim: D.
        dim_hidden: of the residual blocks; D by default.
        depth: number of residual blocks.
        l2norm_output: scale the new codes to unit length.

    State dictionary: ``proj_in``, ``layers.i.0`` and ``layers.i.2``, as in vector-quantize-pytorch.
    """

    def __init__(self, dim: int, dim_hidden: int | None = None, depth: int = 4, l2norm_output: bool = False) -> None:
        super().__init__()
        hidden = dim if dim_hidden is None else dim_hidden
        self.proj_in = nn.Linear(2 * dim, dim)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, dim)) for _ in range(depth)
        )
        self.l2norm_output = l2norm_output

    def forward(self, codes: Tensor, *, condition: Tensor) -> Tensor:
        """``(..., K, D)`` for ``codes (K, D)`` or ``(1, K, D)`` and ``condition (..., D)``."""
        # One matrix on both halves side by side, without writing them side by side for every pair.
        of_condition, of_codes = self.proj_in.weight.chunk(2, -1)
        x = functional.linear(condition, of_condition).unsqueeze(-2)
        x = x + functional.linear(codes.reshape(codes.shape[-2:]), of_codes, self.proj_in.bias)
        for layer in self.layers:
            x = layer(x) + x
        return functional.normalize(x, dim=-1) if self.l2norm_output else x

    def of_chosen(self, codes: Tensor, *, condition: Tensor) -> Tensor:
        """``(..., D)`` of one code ``(..., D)`` a vector: what :meth:`forward` makes of it."""
        x = self.proj_in(torch.cat((condition, codes), -1))
        for layer in self.layers:
            x = layer(x) + x
        return functional.normalize(x, dim=-1) if self.l2norm_output else x
