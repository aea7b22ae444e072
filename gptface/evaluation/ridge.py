"""Ridge regression of many targets on wide features, its penalty chosen by rows that were held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["PENALTIES", "RidgeFit", "fit_ridge"]

# Shares of the features' mean variance that are added to it.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class RidgeFit:
    """``targets ≈ features @ weight + bias``.

    Attributes:
        weight: float32 ``(D, T)``.
        bias: float32 ``(T,)``.
        penalty: the one of ``PENALTIES`` that was chosen.
        held_out: root mean square error on the held-out rows, by which it was.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    held_out: float

    def predict(self, features: Tensor) -> Tensor:
        """``features (N, D)`` to ``(N, T)``."""
        return features @ self.weight + self.bias


def fit_ridge(features: Tensor, targets: Tensor, apart: np.ndarray) -> RidgeFit:
    """Minimise ``‖features W + b − targets‖² + λ‖W‖²``, ``λ = penalty · N · mean variance``, over rows not ``apart``.

    Of all penalties the one with the smallest error on the rows that are apart is taken. Nothing is fitted on these
    afterwards either, so that they can also choose between what is trained from there.

    Args:
        features: float32 ``(N, D)``; ``D`` may be a few thousand, since a ``D × D`` matrix is factorised.
        targets: float32 ``(N, T)``.
        apart: bool ``(N,)``, at least one row and not all.
    """
    chosen = torch.from_numpy(apart)
    fitting = _Sums(features[~chosen], targets[~chosen])
    fits = []
    for penalty in PENALTIES:
        weight, bias = fitting.solve(penalty)
        error = float((features[chosen] @ weight + bias - targets[chosen]).square().mean().sqrt())
        fits.append(RidgeFit(weight, bias, penalty, error))
    return min(fits, key=lambda fit: fit.held_out)


class _Sums:
    """Second moments of centred features and targets: all that ridge regression needs of the rows."""

    def __init__(self, features: Tensor, targets: Tensor) -> None:
        self.feature_mean, self.target_mean = features.mean(0), targets.mean(0)
        centred = features - self.feature_mean
        self.gram = (centred.mT @ centred).double()
        self.cross = (centred.mT @ (targets - self.target_mean)).double()

    def solve(self, penalty: float) -> tuple[Tensor, Tensor]:
        gram = self.gram.clone()
        # A little more than nothing where all features are constant.
        gram.diagonal().add_(penalty * gram.diagonal().mean().clamp_min(1e-12))
        weight = torch.cholesky_solve(self.cross, torch.linalg.cholesky(gram)).float()
        return weight, self.target_mean - self.feature_mean @ weight
