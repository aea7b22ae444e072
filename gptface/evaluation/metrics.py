"""Figures of merit, each a pure function of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = [
    "accuracy_interval",
    "area_under_curve",
    "average_precision",
    "balanced_accuracy",
    "bootstrap_interval",
    "class_counts",
    "class_f1",
    "cluster_bootstrap_interval",
    "gradient_energy",
    "mean_attribute_accuracy",
    "mean_f1",
    "outside_change_share",
    "paired_gain",
    "wilson_interval",
]


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (95 % by default); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At 0 or all successes the bound is 0 or 1 exactly; the formula reaches it only up to rounding.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


def paired_gain(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Compare two runs over the same cases, each a boolean success array.

    Returns:
        ``gained`` and ``lost`` (cases that changed), ``difference`` of the success shares, and ``p_value`` of the exact
        two-sided McNemar test (a binomial test on the cases that changed).
    """
    before, after = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    gained, lost = int((~before & after).sum()), int((before & ~after).sum())
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed
    return {
        "gained": gained,
        "lost": lost,
        "difference": float(after.mean() - before.mean()) if before.size else 0.0,
        "p_value": min(1.0, 2 * tail) if changed else 1.0,
    }


def outside_change_share(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> float:
    """Share of pixels outside ``mask`` whose value differs at all.

    Args:
        before, after: uint8 ``(..., H, W, 3)``.
        mask: bool ``(..., H, W)``, true where a change was allowed.
    """
    changed = (before != after).any(axis=-1)
    outside = ~mask
    return float((changed & outside).sum() / max(1, outside.sum()))


def gradient_energy(images: np.ndarray, masks: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels, both inside ``masks``: what a smear lacks.

    Args:
        images: uint8 ``(..., H, W, 3)``; masks: bool ``(..., H, W)``.
    """
    levels = images.astype(np.float32) / 255
    across = np.square(np.diff(levels, axis=-2)).mean(-1)[masks[..., 1:] & masks[..., :-1]]
    down = np.square(np.diff(levels, axis=-3)).mean(-1)[masks[..., 1:, :] & masks[..., :-1, :]]
    total, count = across.sum(dtype=np.float64) + down.sum(dtype=np.float64), across.size + down.size
    return float(total / max(1, count))


def balanced_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes present in ``truth`` of the share of that class that is recognised."""
    return float(np.mean([(predicted[truth == label] == label).mean() for label in np.unique(truth)]))


def cluster_bootstrap_interval(
    values: np.ndarray, groups: np.ndarray, *, replicates: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` when whole groups, such as people, are drawn anew with replacement.

    Photos of one person are right or wrong together; an interval that counts them as independent is too narrow.

    Args:
        values: ``(N,)``, such as whether each answer is right, or the difference of two such.
        groups: ``(N,)`` identities.
        replicates: how many draws.
        seed: of the draws.
    """
    names, member = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(member, np.asarray(values, dtype=np.float64)), np.bincount(member)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
    low, high = np.quantile((draws @ sums) / (draws @ sizes), [0.025, 0.975])
    return float(low), float(high)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float], groups: np.ndarray, *, replicates: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of any statistic of rows when whole groups, such as people, are drawn anew with replacement.

    Args:
        statistic: from row numbers ``(n,)``, in which rows may recur, to a number; draws in which it is not finite,
            such as a correlation with what does not vary, are left out.
        groups: ``(N,)`` identities.
        replicates: how many draws.
        seed: of the draws.

    Returns:
        (NaN, NaN) where no draw gave a number.
    """
    _, member = np.unique(groups, return_inverse=True)
    order = np.argsort(member, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(member))[:-1])
    random = np.random.default_rng(seed)
    values = []
    for _ in range(replicates):
        value = statistic(np.concatenate([rows[group] for group in random.integers(len(rows), size=len(rows))]))
        if math.isfinite(value):
            values.append(value)
    if not values:
        return math.nan, math.nan
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def area_under_curve(low: np.ndarray, high: np.ndarray) -> float:
    """How often a number of ``high`` is above one of ``low``, ties counted half: 0.5 tells nothing apart, 1 all."""
    low, high = np.sort(np.asarray(low, dtype=np.float64)), np.asarray(high, dtype=np.float64)
    if not len(low) or not len(high):
        return math.nan
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.mean() / (2 * len(low)))


def accuracy_interval(right: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float]:
    """95 % interval of an accuracy: over groups by the bootstrap, Wilson's where there are none.

    Where every answer is right, or every one wrong, drawing anew cannot vary: then Wilson's, with a group as one trial.

    Args:
        right: ``(N,)``, whether each answer is right; shares of 1 where several runs answered.
        groups: ``(N,)`` identities.
    """
    right = np.asarray(right, dtype=np.float64)
    if groups is None:
        return wilson_interval(round(float(right.sum())), len(right))
    if right.min() == right.max() and right.min() in (0.0, 1.0):
        people = len(np.unique(groups))
        return wilson_interval(people if right.min() else 0, people)
    return cluster_bootstrap_interval(right, groups)


def class_counts(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was found rightly, found wrongly and missed: int64 ``(3, classes)``."""
    right = np.bincount(truth[predicted == truth], minlength=classes)
    found, there = np.bincount(predicted, minlength=classes), np.bincount(truth, minlength=classes)
    return np.stack([right, found - right, there - right])


def class_f1(counts: np.ndarray) -> np.ndarray:
    """F1 of each class from ``counts (..., 3, classes)`` as :func:`class_counts` gives them: ``(..., classes)``.

    NaN for a class that neither occurs nor is found.
    """
    right, wrong, missed = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
    total = 2 * right + wrong + missed
    return np.divide(2 * right, total, out=np.full_like(total, np.nan), where=total > 0)


def mean_f1(counts: np.ndarray) -> np.ndarray:
    """Mean F1 over classes from ``counts (..., 3, classes)`` as :func:`class_counts` gives them.

    A class that neither occurs nor is found takes no part.
    """
    scores = class_f1(counts)
    known = ~np.isnan(scores)
    return np.where(known, scores, 0).sum(-1) / np.maximum(known.sum(-1), 1)


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean precision over the recalls that falling thresholds reach, sum of (R_n - R_(n-1)) P_n; NaN if none is true.

    Args:
        scores: ``(N,)``, the higher the more likely; equal ones are found together.
        truth: bool ``(N,)``.
    """
    truth = np.asarray(truth, dtype=bool)
    if not truth.any():
        return math.nan
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ranked = np.asarray(scores, dtype=np.float64)[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each run of equal scores
    found = np.cumsum(truth[order])[last]
    recall = np.diff(found, prepend=0) / truth.sum()
    return float((recall * found / (last + 1)).sum())


def mean_attribute_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean over attributes of the share of faces rightly told, as CelebA's tables report it.

    Args:
        predicted: ``(N, A)``, 0 or 1.
        truth: ``(N, A)``, 0 or 1, NaN where it is not known; an attribute that is known of no face takes no part.
    """
    truth = np.asarray(truth, dtype=np.float64)
    known = ~np.isnan(truth)
    right = ((np.asarray(predicted) == truth) & known).sum(0)
    counts = known.sum(0)
    return float((right[counts > 0] / counts[counts > 0]).mean()) if counts.any() else math.nan
