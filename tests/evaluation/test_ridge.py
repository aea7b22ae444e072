"""Ridge regression: the closed form, and a penalty that the held-out rows choose."""

from __future__ import annotations

import numpy as np
import torch

from gptface.evaluation.ridge import PENALTIES, fit_ridge


def test_the_solution_is_that_of_the_augmented_least_squares_problem() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 6, generator=generator) + 3
    targets = torch.randn(40, 2, generator=generator)
    apart = np.arange(40) % 5 == 0
    fit = fit_ridge(features, targets, apart)
    features, targets = features[~apart], targets[~apart]
    centred = features.double() - features.double().mean(0)
    penalty = fit.penalty * centred.square().sum(0).mean()
    augmented = torch.cat([centred, penalty.sqrt() * torch.eye(6, dtype=torch.float64)])
    aims = torch.cat([targets.double() - targets.double().mean(0), torch.zeros(6, 2, dtype=torch.float64)])
    weight = torch.linalg.lstsq(augmented, aims).solution
    torch.testing.assert_close(fit.weight.double(), weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fit.predict(features).mean(0), targets.mean(0))


def test_clean_targets_choose_a_small_penalty_and_noise_a_large_one() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(60, 40, generator=generator)
    truth = features @ torch.randn(40, 3, generator=generator)
    apart = np.arange(60) % 4 == 0
    assert fit_ridge(features, truth, apart).penalty == PENALTIES[0]
    noise = fit_ridge(features, torch.randn(60, 3, generator=generator), apart)
    assert noise.penalty == PENALTIES[-1] and noise.held_out > 0.5


def test_features_that_never_vary_predict_the_mean() -> None:
    targets = torch.arange(10.0)[:, None]
    fit = fit_ridge(torch.ones(10, 3), targets, np.arange(10) < 2)
    torch.testing.assert_close(fit.predict(torch.ones(1, 3)), torch.tensor([[5.5]]))


def test_nothing_of_the_held_out_rows_enters_the_fit() -> None:
    generator = torch.Generator().manual_seed(2)
    features, apart = torch.randn(30, 4, generator=generator), np.arange(30) < 6
    targets = features @ torch.randn(4, 2, generator=generator)
    first = fit_ridge(features, targets, apart)
    second = fit_ridge(features, targets + 0.01 * torch.from_numpy(apart)[:, None], apart)
    assert first.penalty == second.penalty and torch.equal(first.weight, second.weight)
