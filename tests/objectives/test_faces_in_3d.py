"""Losses of faces in 3D: robust to what covers a face, blind to what is unknown, the distances they claim to be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.objectives import (
    basis_metric,
    landmark_errors,
    metric_distances,
    photometric_errors,
    photometric_weights,
    rotation_distances,
)


def test_photometric_errors_are_means_inside_and_nothing_outside() -> None:
    pictures = torch.rand(2, 8, 8, 3)
    drawn = (pictures + 0.1).requires_grad_(True)
    inside = torch.zeros(2, 8, 8)
    inside[0, 2:6, 2:6] = 1
    errors = photometric_errors(drawn, pictures, inside)  # even ones, of half their own scale
    assert float(errors[0].detach()) == pytest.approx(0.1 / (1 + 0.25), rel=1e-3)
    assert float(errors[1].detach()) == 0
    (gradient,) = torch.autograd.grad(errors.sum(), drawn)
    assert (gradient[0, 2:6, 2:6] > 0).all() and (gradient.sum((1, 2, 3))[1] == 0)
    assert (gradient[0] != 0).sum() == 16 * 3


def test_what_covers_a_face_counts_little() -> None:
    errors, inside = torch.full((1, 10, 10), 0.05), torch.ones(1, 10, 10)
    errors[0, :2] = 0.9
    weights = photometric_weights(errors, inside)
    assert float(weights[0, 0, 0]) < 0.25 < 0.9 < float(weights[0, 5, 5])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), unknown=st.integers(0, 67))
def test_landmarks_that_are_not_known_do_not_count(seed: int, unknown: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    given_ = torch.rand(3, 68, 2, generator=generator)
    found = given_ + torch.tensor([0.03, 0.04])
    given_[1, unknown:] = torch.nan
    found.requires_grad_(True)
    errors = landmark_errors(found, given_)
    for row, wanted in enumerate((0.05, 0.05 if unknown else 0.0, 0.05)):
        assert float(errors[row].detach()) == pytest.approx(wanted, abs=0.005)
    (gradient,) = torch.autograd.grad(errors.sum(), found)
    assert torch.isfinite(gradient).all() and (gradient[1, unknown:] == 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_metric_of_weights_is_the_distance_of_vertices(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(5, 40, 3, generator=generator)
    one, other = torch.randn(2, 4, 5, generator=generator)
    apart = torch.einsum("fm,mvc->fvc", one - other, basis).square().sum(-1).mean(1)
    torch.testing.assert_close(metric_distances(one, other, basis_metric(basis)), apart, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(metric_distances(one, other), (one - other).square().sum(1))


@pytest.mark.parametrize("degrees", [0.0, 1.0, 10.0])
def test_rotations_are_compared_by_their_angle(degrees: float) -> None:
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]])
    found = rotation_distances(turn[None], torch.eye(3)[None])
    assert float(found) == pytest.approx(angle**2, rel=0.01, abs=1e-9)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="drawn"):
        photometric_errors(torch.zeros(1, 4, 4, 3), torch.zeros(1, 4, 5, 3), torch.zeros(1, 4, 4))
    with pytest.raises(InputError, match="landmarks"):
        landmark_errors(torch.zeros(1, 68, 3), torch.zeros(1, 68, 3))
    with pytest.raises(InputError, match="weights"):
        metric_distances(torch.zeros(1, 3), torch.zeros(1, 4))
    with pytest.raises(InputError, match="3, 3"):
        rotation_distances(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))
