"""Numbers with intervals: what they are, and that there is none where nothing can be said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gptface.systems.facegpt.evaluation import measures

RANDOM = np.random.default_rng(0)


def test_measures_are_the_plain_numbers_inside_their_intervals() -> None:
    values, base, groups = RANDOM.normal(2, 1, 80), RANDOM.normal(4, 1, 80), np.repeat(np.arange(40), 2)
    for measure, expected in (
        (measures.mean(values, groups), values.mean()),
        (measures.median(values, groups), np.median(values)),
        (measures.ratio(values, base, groups), values.mean() / base.mean()),
        (measures.correlation(values, values + base, groups), np.corrcoef(values, values + base)[0, 1]),
        (measures.share(values > 2, groups), (values > 2).mean()),
    ):
        low, high = measure["interval"]
        assert measure["value"] == pytest.approx(expected) and low < expected < high and measure["n"] == 80
        json.dumps(measure, allow_nan=False)


def test_what_cannot_be_said_is_none_and_a_dash() -> None:
    constant, groups = np.ones(9), np.arange(9)
    measure = measures.correlation(constant, RANDOM.normal(size=9), groups)
    assert measure == {"value": None, "interval": [None, None], "n": 9} and measures.told(measure) == "–"
    assert measures.mean(constant[:0], groups[:0])["value"] is None
    assert measures.told(measures.share(np.array([True] * 8)), 1, 100).startswith("100.0 [")


def test_area_draws_people_anew() -> None:
    low, high = np.arange(20.0), np.arange(20.0) + 5
    measure = measures.area(lambda rows: low[rows], lambda rows: high[rows], 20)
    bounds = measure["interval"]
    assert measure["value"] == pytest.approx(np.mean([a < b or 0.5 * (a == b) for a in low for b in high]), abs=0.02)
    assert bounds[0] < measure["value"] < bounds[1] <= 1
