"""Landmark errors against hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from gptface.errors import InputError
from gptface.evaluation.landmark_metrics import (
    area_under_error_curve,
    diagonal,
    failure_rate,
    outer_eye_distance,
    point_errors,
)


def test_errors_and_the_lengths_that_divide_them() -> None:
    truth = np.zeros((2, 68, 2))
    truth[:, 36], truth[:, 45] = (10, 20), (40, 60)  # 30 across, 40 down
    found = truth + np.array([[[3, 4]], [[0, 1]]])
    np.testing.assert_allclose(point_errors(found, truth), [5, 1])
    np.testing.assert_allclose(outer_eye_distance(truth), [50, 50])
    np.testing.assert_allclose(diagonal(truth), [np.hypot(40, 60)] * 2)
    assert outer_eye_distance(np.tile([[[0.0, 0], [3, 4], [9, 9], [8, 8], [7, 7]]], (3, 1, 1))).tolist() == [5] * 3
    with pytest.raises(InputError, match="20 points; the eyes' corners are known of 5, 19, 68, 98, 106, 468"):
        outer_eye_distance(np.zeros((1, 20, 2)))


def test_failures_and_the_area_by_hand() -> None:
    errors = np.array([0.0, 0.05, 0.1, 0.2])
    assert failure_rate(errors) == 0.25  # what is at the threshold has not failed
    # One step at 0, one in the middle, one at the end: (1 + 1/2 + 0 + 0) / 4.
    assert area_under_error_curve(errors) == pytest.approx(0.375)
    assert area_under_error_curve(errors, 0.2) == pytest.approx((1 + 0.75 + 0.5 + 0) / 4)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_area_is_that_of_the_drawn_curve(count: int) -> None:
    errors = np.random.default_rng(count).uniform(0, 0.2, count)
    places = np.linspace(0, 0.1, 4001)
    shares = (errors[None] <= places[:, None]).mean(1)
    assert area_under_error_curve(errors) == pytest.approx(shares[:-1].mean(), abs=2e-3)
    assert 0 <= area_under_error_curve(errors) <= 1
