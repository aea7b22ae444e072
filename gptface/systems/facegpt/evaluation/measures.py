"""Numbers with their 95 % intervals, drawn anew over faces or people."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gptface.evaluation.metrics import accuracy_interval, area_under_curve, bootstrap_interval

__all__ = ["Measure", "area", "correlation", "mean", "measured", "median", "ratio", "share", "told"]

Measure = dict[str, Any]
"""``value``, ``interval`` (two numbers) and ``n``; ``None`` where there is no number, as JSON has no NaN."""

VARIES = 1e-6
"""Standard deviation below which a row of numbers is constant, and correlates with nothing."""


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def measured(statistic: Callable[[np.ndarray], float], groups: np.ndarray) -> Measure:
    """A statistic of row numbers, and its interval when whole groups are drawn anew."""
    rows = np.arange(len(groups))
    interval = [_number(bound) for bound in bootstrap_interval(statistic, groups)] if len(rows) else [None, None]
    return {"value": _number(statistic(rows)) if len(rows) else None, "interval": interval, "n": len(rows)}


def mean(values: np.ndarray, groups: np.ndarray) -> Measure:
    """The mean of ``values (N,)``."""
    return measured(lambda rows: float(values[rows].mean()), groups)


def median(values: np.ndarray, groups: np.ndarray) -> Measure:
    """The median of ``values (N,)``."""
    return measured(lambda rows: float(np.median(values[rows])), groups)


def ratio(values: np.ndarray, base: np.ndarray, groups: np.ndarray) -> Measure:
    """The mean of ``values (N,)`` by that of ``base (N,)``, drawn anew together."""
    return measured(lambda rows: float(values[rows].mean() / base[rows].mean()), groups)


def correlation(found: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Measure:
    """Pearson's correlation of two rows ``(N,)``; no number where one of them is constant."""

    def of(rows: np.ndarray) -> float:
        first, second = found[rows] - found[rows].mean(), truth[rows] - truth[rows].mean()
        if first.std() < VARIES or second.std() < VARIES:
            return math.nan
        return float((first * second).mean() / (first.std() * second.std()))

    return measured(of, groups)


def share(right: np.ndarray, groups: np.ndarray | None = None) -> Measure:
    """The share of true values of ``right (N,)``: over groups, or by Wilson's interval without."""
    interval = list(accuracy_interval(right, groups)) if len(right) else [None, None]
    return {"value": float(np.mean(right)) if len(right) else None, "interval": interval, "n": len(right)}


def area(low: Callable[[np.ndarray], np.ndarray], high: Callable[[np.ndarray], np.ndarray], people: int) -> Measure:
    """How often a number of ``high`` is above one of ``low``, when people are drawn anew.

    Args:
        low, high: from the numbers of people ``(n,)``, in which some may recur, to what is compared.
        people: how many there are.
    """
    return measured(lambda rows: area_under_curve(low(rows), high(rows)), np.arange(people))


def told(measure: Measure, digits: int = 2, scale: float = 1.0) -> str:
    """``0.47 [0.45, 0.49]``, or a dash where there is no number."""
    if measure["value"] is None:
        return "–"
    low, high = measure["interval"]
    if low is None:
        return f"{scale * measure['value']:.{digits}f}"
    return f"{scale * measure['value']:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
