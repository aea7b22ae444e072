"""The leak: how much of a masked patch its own token gives away, without anything around it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LinearDecoder", "linear_decoder", "linear_leak"]

# Of the mean eigenvalue of the tokens' covariance: keeps tokens that vary in few directions from dividing by zero.
RIDGE = 1e-4


class LinearDecoder(NamedTuple):
    """The best linear map from tokens to normalised patches.

    Attributes:
        token: float32 (D,), the mean token.
        patch: float32 (P,), the mean patch: what is said without a token.
        weight: float32 (D, P).
    """

    token: Tensor
    patch: Tensor
    weight: Tensor

    def __call__(self, tokens: Tensor) -> Tensor:
        """``tokens`` (M, D) to patches (M, P)."""
        return self.patch + (tokens.float() - self.token) @ self.weight


def linear_decoder(tokens: Tensor, targets: Tensor) -> LinearDecoder:
    """Fit a linear map from tokens (M, D) to normalised patches (M, P) by least squares, with a slight ridge."""
    centred, factor = _factorised(tokens)
    patch = targets.double().mean(0)
    weight = torch.cholesky_solve(centred.T @ (targets.double() - patch), factor)
    return LinearDecoder(tokens.double().mean(0).float(), patch.float(), weight.float())


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
    tokens, factor = _factorised(tokens)
    targets = targets.double() - targets.double().mean(0)
    projected = torch.linalg.solve_triangular(factor, tokens.T @ targets, upper=False)
    unexplained = 1 - projected.square().sum() / targets.square().sum().clamp_min(1e-12)
    return (1 - unexplained * (rows - 1) / (rows - width - 1)).clamp(0, 1).float()


def _factorised(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """float64: tokens (M, D) less their mean, and the lower Cholesky factor (D, D) of their scatter with its ridge."""
    centred = tokens.double() - tokens.double().mean(0)
    scatter = centred.T @ centred
    ridge = RIDGE * scatter.diagonal().mean() + torch.finfo(torch.float32).tiny
    identity = torch.eye(len(scatter), dtype=scatter.dtype, device=scatter.device)
    return centred, torch.linalg.cholesky(scatter + ridge * identity)
