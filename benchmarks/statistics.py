"""From samples to the three numbers of a table: the median and the 20 % and 80 % quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["paired_differences", "paired_ratios", "quantile", "summary"]

LOW, HIGH = 0.2, 0.8


def quantile(values: Sequence[float], share: float) -> float:
    """The ``share`` quantile, linear between neighbouring order statistics (NumPy's default).

    Raises:
        ValueError: no values, or a share outside [0, 1].
    """
    if not values:
        raise ValueError("quantile of no values")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}; it must lie in [0, 1]")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summary(values: Sequence[float]) -> dict[str, float]:
    """``median``, ``low`` (20 %), ``high`` (80 %) and ``samples`` of ``values``."""
    return {
        "median": quantile(values, 0.5),
        "low": quantile(values, LOW),
        "high": quantile(values, HIGH),
        "samples": len(values),
    }


def paired_ratios(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """``values[i] / baseline[i]`` round by round, so that a drift of the machine cancels.

    Where a side has fewer samples (a contender too slow for more than one call), its median stands for all rounds.
    """
    if len(values) != len(baseline):
        middle = quantile(baseline, 0.5)
        return [value / middle for value in values]
    return [value / other for value, other in zip(values, baseline, strict=True)]


def paired_differences(values: Sequence[float], other: Sequence[float]) -> list[float]:
    """``max(0, values[i] - other[i])`` round by round."""
    return [max(0.0, value - less) for value, less in zip(values, other, strict=True)]
