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
    centred, factor = _factorised(tokens, tokens.new_ones(len(tokens), 1).double())
    patch = targets.double().mean(0)
    weight = torch.cholesky_solve(centred.T @ (targets.double() - patch), factor)
    return LinearDecoder(tokens.double().mean(0).float(), patch.float(), weight.float())


def linear_leak(tokens: Tensor, targets: Tensor, usable: Tensor | None = None) -> Tensor:
    """Share of the patches' variance that a linear map from their tokens explains (adjusted R²): scalar, 0 to 1.

    0: a token says nothing of its patch (a mask token, a code drawn at random). 1: the answer is in the question.

    Args:
        tokens: ``(M, D)``, with M well above D; NaN comes of M ≤ D + 1.
        targets: ``(M, P)``, normalised pixels.
        usable: bool ``(M,)``, which rows are patches; others are padding. By default all.
    """
    width = tokens.shape[1]
    kept = tokens.new_ones(len(tokens), 1) if usable is None else usable.unsqueeze(1)
    kept = kept.double()
    rows = kept.sum()
    tokens, factor = _factorised(tokens, kept)
    targets = _centred(targets.double(), kept)
    projected = torch.linalg.solve_triangular(factor, tokens.T @ targets, upper=False)
    unexplained = 1 - projected.square().sum() / targets.square().sum().clamp_min(1e-12)
    degrees = rows - width - 1
    return torch.where(degrees > 0, 1 - unexplained * (rows - 1) / degrees, torch.nan).clamp(0, 1).float()


def _factorised(tokens: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """float64: tokens (M, D) less their mean, and the lower Cholesky factor (D, D) of their scatter with its ridge."""
    centred = _centred(tokens.double(), kept)
    scatter = centred.T @ centred
    ridge = RIDGE * scatter.diagonal().mean() + torch.finfo(torch.float32).tiny
    scatter.diagonal().add_(ridge)
    # Not `cholesky`, which on a GPU waits to hear whether it went well.
    return centred, torch.linalg.cholesky_ex(scatter)[0]


def _centred(rows: Tensor, kept: Tensor) -> Tensor:
    """Rows less the mean of those that are kept; the others 0."""
    rows = torch.where(kept > 0, rows, 0.0)
    return (rows - rows.sum(0) / kept.sum().clamp_min(1)) * kept
