"""What is counted over many span masks: exact counts, how often each position is masked, how long spans are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gptface.ops import sample_span_mask
from gptface.ops.span_mask.program import LAW_UNIFORM, LengthLaw

__all__ = ["CHUNK", "Marginals", "SpanLengths", "expected_span_lengths", "masks_of", "survival"]

CHUNK = 4096


def survival(statistic: float, freedom: int) -> float:
    """P(χ² with that many degrees of freedom > statistic)."""
    halves = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(halves[0], halves[1]))


def masks_of(spec: Any, layout: np.ndarray | None, samples: int, seed: int, **companions: np.ndarray) -> Iterator[Any]:
    """``SpanMask`` of NumPy arrays, ``CHUNK`` samples at a time; ``layout`` and companions are one row for all."""
    for first in range(0, samples, CHUNK):
        ids = np.arange(first, min(first + CHUNK, samples))
        rows = None if layout is None else np.broadcast_to(layout, (len(ids), *np.shape(layout))).copy()
        extra = {name: np.broadcast_to(row, (len(ids), *row.shape)).copy() for name, row in companions.items()}
        yield sample_span_mask(spec, rows, seed=seed, step=0, sample_ids=ids, **extra)


@dataclass
class Marginals:
    """Counts of masks and their first two moments; positions of one mask depend on one another, so the χ² test of all
    positions is Wald's, with their own covariance."""

    samples: int = 0
    exact: int = 0
    smallest: int = 2**31
    largest: int = 0
    sums: Any = 0.0
    products: Any = 0.0
    chosen: Any = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, mask: np.ndarray, expected: int | None) -> None:
        """``mask`` bool ``(B, S)`` and the count that was promised (``None``: none was)."""
        counts = mask.sum(1)
        self.samples += len(mask)
        self.exact += len(mask) if expected is None else int((counts == expected).sum())
        self.smallest, self.largest = min(self.smallest, int(counts.min())), max(self.largest, int(counts.max()))
        values = mask.astype(np.float32)  # sums of a chunk stay below 2²⁴ and are exact
        self.sums = self.sums + values.sum(0, dtype=np.float64)
        self.products = self.products + (values.T @ values).astype(np.float64)
        some = mask[counts > 0]
        rank = (self.rng.random(len(some)) * counts[counts > 0]).astype(np.int64)
        places = (some.cumsum(1) > rank[:, None]).argmax(1)
        self.chosen = self.chosen + np.bincount(places, minlength=mask.shape[1])

    @property
    def frequency(self) -> np.ndarray:
        return self.sums / self.samples

    def p_all_positions(self, eligible: np.ndarray | None = None) -> float:
        """Wald's test that all eligible positions are masked equally often."""
        use = np.ones(len(self.sums), bool) if eligible is None else eligible
        mean = self.frequency[use]
        covariance = self.products[np.ix_(use, use)] / self.samples - np.outer(mean, mean)
        values, vectors = np.linalg.eigh(covariance)
        used = values > 1e-9 * max(values.max(), 1e-300)
        offset = vectors[:, used].T @ (mean - mean.mean())
        return survival(float(self.samples * (offset**2 / values[used]).sum()), int(used.sum()))

    def p_one_position(self, eligible: np.ndarray | None = None) -> float:
        """Pearson's test of the place of one masked position drawn from every sample."""
        chosen = self.chosen if eligible is None else self.chosen[eligible]
        wanted = chosen.sum() / len(chosen)
        return survival(float(((chosen - wanted) ** 2 / wanted).sum()), len(chosen) - 1)


def probabilities_of(law: LengthLaw) -> np.ndarray:
    """P(length = l) at index l, from the integers that the kernels draw with."""
    result = np.zeros(law.high + 1)
    if law.kind == LAW_UNIFORM:
        result[law.low :] = 1 / (law.high - law.low + 1)
    else:
        result[law.low :] = np.diff(np.array([0, *law.table])) / 2**32
    return result


def expected_span_lengths(law: LengthLaw, budget: int) -> np.ndarray:
    """Expected number of spans of each length in one mask of ``budget`` positions, at index l.

    Lengths are drawn until their sum reaches the budget, and the last is cut. With u(k) = P(some partial sum is k),
    a span of length l that is not cut begins at k ≤ m − l: Σ u(k) p(l) of them; one that is cut to l begins at m − l
    and was drawn longer: u(m − l) · P(L > l).
    """
    p = probabilities_of(law)
    longest = len(p) - 1
    reached = np.zeros(budget + 1)
    reached[0] = 1
    for k in range(1, budget + 1):
        for length in range(1, min(longest, k) + 1):
            reached[k] += reached[k - length] * p[length]
    above = 1 - np.cumsum(p)
    result = np.zeros(longest + 1)
    for length in range(1, min(longest, budget) + 1):
        result[length] = reached[: budget - length + 1].sum() * p[length] + reached[budget - length] * above[length]
    return result


@dataclass
class SpanLengths:
    """Histograms of span lengths, one a mask; needs ``min_gap >= 1`` and every position eligible, so that a span that
    goes on at the beginning of the sample can be told and put together again."""

    longest: int
    samples: int = 0
    sums: Any = 0.0
    products: Any = 0.0

    def add(self, mask: np.ndarray) -> None:
        before = np.roll(mask, 1, axis=1)
        batch, size = mask.shape
        rows, begins = np.nonzero(mask & ~before)
        ends = np.nonzero(~mask & before)
        # The i-th begin of a row belongs to its i-th end, or to the next one where the last span reaches the row's end:
        # that span's own end comes first.
        inside = mask[:, -1].astype(np.int64)
        number = np.bincount(rows, minlength=batch)
        first = np.concatenate([[0], np.cumsum(number)[:-1]])
        rank = np.arange(len(rows)) - first[rows]
        partner = first[rows] + (rank + inside[rows]) % number[rows]
        lengths = (ends[1][partner] - begins) % size
        histogram = np.zeros((batch, self.longest + 1))
        np.add.at(histogram, (rows, lengths), 1)
        self.samples += batch
        self.sums = self.sums + histogram.sum(0)
        self.products = self.products + histogram.T @ histogram

    def p_value(self, expected: np.ndarray) -> float | None:
        """Wald's test that the mean histogram is the expected one; ``None`` where all masks have just that one."""
        mean = self.sums / self.samples
        values, vectors = np.linalg.eigh(self.products / self.samples - np.outer(mean, mean))
        used = values > max(1e-9 * values.max(), 1e-12)
        if not used.any():  # every mask has the same spans: right or wrong, without a doubt
            return None if np.allclose(mean, expected) else 0.0
        offset = vectors[:, used].T @ (mean - expected)
        return survival(float(self.samples * (offset**2 / values[used]).sum()), int(used.sum()))
