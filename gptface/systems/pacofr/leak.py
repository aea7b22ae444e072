"""The leak: how much of a masked patch its own token gives away, without anything around it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["linear_leak"]

# Of the mean eigenvalue of the tokens' covariance: keeps tokens that vary in few directions from dividing by zero.
RIDGE = 1e-4


def linear_leak(tokens: Tensor, targets: Tensor) -> Tensor:
    """Share of the patches' variance that a linear map from their tokens explains (adjusted R²): scalar, 0 to 1.

    0: a token says nothing of its patch (a mask token, a code drawn at random). 1: the answer is in the question.

    Args:
        tokens: ``(M, D)``, with M well above D.
        targets: ``(M, P)``, normalised pixels.
    """
    rows, width = tokens.shape
    if rows <= width + 1:
        return tokens.new_full((), float("nan"))
    tokens = tokens.double() - tokens.double().mean(0)
    targets = targets.double() - targets.double().mean(0)
    covariance = tokens.T @ tokens
    ridge = RIDGE * covariance.diagonal().mean() + torch.finfo(torch.float32).tiny
    factor = torch.linalg.cholesky(covariance + ridge * torch.eye(width, dtype=tokens.dtype, device=tokens.device))
    projected = torch.linalg.solve_triangular(factor, tokens.T @ targets, upper=False)
    unexplained = 1 - projected.square().sum() / targets.square().sum().clamp_min(1e-12)
    return (1 - unexplained * (rows - 1) / (rows - width - 1)).clamp(0, 1).float()
