"""Beams: the best ways so far to choose codes, stage by stage."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Beams"]


class Beams:
    """For every vector J ways to choose codes, the best first once more than wanted have been found.

    Attributes:
        residual: what each way leaves over, ``(..., J, D)``.
        total: the sum of its codes, ``(..., J, D)``.
        scores: ``(..., J)``, higher is better.
        indices, losses: by stage ``(..., J)``.
        inputs: by stage what was left over before it, ``(..., J, D)``, without gradient.
    """

    def __init__(self, rows: Tensor) -> None:
        self.residual = rows.unsqueeze(-2)
        self.total = torch.zeros_like(self.residual)
        self.scores = torch.zeros_like(self.residual[..., 0])
        self.indices: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.inputs: list[Tensor] = []

    def extend(
        self, quantized: Tensor, passed: Tensor, indices: Tensor, losses: Tensor, costs: Tensor, size: int
    ) -> None:
        """Go on from every way with each of k codes, and keep the ``size`` best.

        Args:
            quantized: the codes ``(..., J, k, D)``.
            passed: the same as the residual sees them.
            indices, losses, costs: ``(..., J, k)``; a way's score is the sum of its negative costs.
        """
        candidates = indices.shape[-1]
        scores = (self.scores.unsqueeze(-1) - costs).flatten(-2)
        if scores.shape[-1] > size:
            self.scores, kept = scores.topk(size, dim=-1)
        else:
            self.scores, kept = scores, torch.arange(scores.shape[-1], device=scores.device).expand(scores.shape)
        parent = kept // candidates
        self.inputs = [_taken(rows, parent) for rows in (*self.inputs, self.residual.detach())]
        self.residual = _taken(self.residual, parent) - _taken(passed.flatten(-3, -2), kept)
        self.total = _taken(self.total, parent) + _taken(quantized.flatten(-3, -2), kept)
        self.indices = [values.gather(-1, parent) for values in self.indices] + [indices.flatten(-2).gather(-1, kept)]
        self.losses = [values.gather(-1, parent) for values in self.losses] + [losses.flatten(-2).gather(-1, kept)]


def _taken(rows: Tensor, which: Tensor) -> Tensor:
    return rows.gather(-2, which.unsqueeze(-1).expand(*which.shape, rows.shape[-1]))
