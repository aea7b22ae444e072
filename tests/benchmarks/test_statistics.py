"""Medians, quantiles and paired ratios."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statistics import paired_differences, paired_ratios, quantile, summary

VALUES = st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=40)


@given(VALUES, st.floats(0, 1))
def test_quantile_is_numpys(values: list[float], share: float) -> None:
    assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-12)


@given(VALUES)
def test_summary_is_in_order(values: list[float]) -> None:
    found = summary(values)
    assert min(values) <= found["low"] <= found["median"] <= found["high"] <= max(values)
    assert found["samples"] == len(values)


@given(VALUES, st.floats(0.1, 10))
def test_drift_that_hits_both_alike_cancels_in_paired_ratios(drift: list[float], factor: float) -> None:
    ratios = paired_ratios([factor * value for value in drift], drift)
    assert ratios == pytest.approx([factor] * len(drift))


def test_single_sample_is_compared_with_the_median() -> None:
    assert paired_ratios([6.0], [1.0, 2.0, 30.0]) == [3.0]


def test_differences_never_fall_below_zero() -> None:
    assert paired_differences([3.0, 1.0], [2.0, 2.0]) == [1.0, 0.0]


def test_quantile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
    with pytest.raises(ValueError, match="share is 2"):
        quantile([1.0], 2)
