"""Laws that a specification is made of: how long spans are, and what share of a sample is masked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Union

from gptface.errors import InputError
from gptface.ops.span_mask.program import (
    LAW_TABLE,
    LAW_UNIFORM,
    MAXIMUM_TABLE,
    RATIO_COSINE,
    RATIO_RANGE,
    LengthLaw,
    Ratio,
)

__all__ = [
    "LARGEST_SIZE",
    "Fixed",
    "Geometric",
    "Lengths",
    "MaskGITCosine",
    "Normal",
    "Poisson",
    "RatioLike",
    "Uniform",
    "make_plain",
    "read_ratio",
    "whole",
]

LARGEST_SIZE = 2**24  # positions of one sample; keeps every product of the kernels inside 64 bits


def _plain(value: Any) -> Any:
    """Lists and arrays become tuples and NumPy numbers Python's, so that specifications can be hashed and printed."""
    if hasattr(value, "tolist"):  # an array or a tensor, or a number of NumPy's
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, (bool, int)) else value


def make_plain(instance: Any) -> None:
    for field in fields(instance):
        object.__setattr__(instance, field.name, _plain(getattr(instance, field.name)))


def whole(name: str, value: int, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; allowed: a whole number from {low} to {high}")
    return value


@dataclass(frozen=True)
class MaskGITCosine:
    """A fresh ratio for every sample: ``cos(π u / 2)`` with ``u`` uniform on [0, 1) (Chang et al., MaskGIT, 2022).

    Full generation, from everything masked to nothing masked, is then in the training distribution. The cosine is a
    fixed-point polynomial, within 2·10⁻⁸ of the function.
    """


RatioLike = Union[float, tuple[float, float], MaskGITCosine]  # noqa: UP007 (evaluated at run time under Python 3.10)


def read_ratio(owner: str, ratio: RatioLike) -> Ratio:
    if isinstance(ratio, MaskGITCosine):
        return Ratio(RATIO_COSINE, 0, 0)
    if isinstance(ratio, (tuple, list)) and len(ratio) == 2:
        low, high = ratio
        if not 0 <= low <= high <= 1:
            raise InputError(f"{owner}.ratio is {ratio!r}; allowed: 0 <= low <= high <= 1")
        return Ratio(RATIO_RANGE, round(low * 2**30), round(high * 2**30))
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1:
        raise InputError(
            f"{owner}.ratio is {ratio!r}; allowed: a number from 0 to 1, a pair (low, high) of them, or MaskGITCosine()"
        )
    return Ratio.number(float(ratio))


def _table(low: int, weights: Sequence[float]) -> LengthLaw:
    """Cumulative probabilities in units of 2⁻³² of lengths ``low, low + 1, …`` (weights need not sum to one)."""
    total, running, table = sum(weights), 0.0, []
    for weight in weights:
        running += weight
        table.append(min(round(running / total * 2**32), 2**32))
    table[-1] = 2**32
    return LengthLaw(LAW_TABLE, low, low + len(table) - 1, tuple(table))


@dataclass(frozen=True)
class Geometric:
    """``P(length = l) ∝ (1 − p)^(l − 1)`` for l = 1 … ``maximum`` (SpanBERT: p = 0.2, maximum 10, mean 3.8)."""

    p: float = 0.2
    maximum: int = 10

    def __post_init__(self) -> None:
        make_plain(self)
        if not 0 < self.p <= 1:
            raise InputError(f"Geometric.p is {self.p!r}; allowed: 0 < p <= 1")
        whole("Geometric.maximum", self.maximum, 1, MAXIMUM_TABLE)

    def law(self) -> LengthLaw:
        weights = [1.0]
        while len(weights) < self.maximum:
            weights.append(weights[-1] * (1.0 - self.p))
        return _table(1, weights)


@dataclass(frozen=True)
class Poisson:
    """``P(length = l) ∝ mean^l / l!`` for l = 1 … ``maximum``: BART's law (mean 3) without empty spans."""

    mean: float = 3.0
    maximum: int = 16

    def __post_init__(self) -> None:
        make_plain(self)
        whole("Poisson.maximum", self.maximum, 1, MAXIMUM_TABLE)
        if not 0 < self.mean <= self.maximum:
            raise InputError(f"Poisson.mean is {self.mean!r}; allowed: above 0 and at most maximum={self.maximum}")

    def law(self) -> LengthLaw:
        weights = [1.0]
        for length in range(2, self.maximum + 1):
            weights.append(weights[-1] * self.mean / length)
        return _table(1, weights)


@dataclass(frozen=True)
class Normal:
    """A normal draw, rounded to a whole length from 1 to ``maximum``: ``P(length = l) ∝ Φ(l + ½) − Φ(l − ½)``, with
    all that is below 1½ at l = 1."""

    mean: float
    deviation: float
    maximum: int = 64

    def __post_init__(self) -> None:
        make_plain(self)
        if not 1e-3 <= self.deviation <= 1e3:
            raise InputError(f"Normal.deviation is {self.deviation!r}; allowed: 0.001 to 1000")
        whole("Normal.maximum", self.maximum, 1, MAXIMUM_TABLE)
        if not 0 < self.mean <= self.maximum:
            raise InputError(f"Normal.mean is {self.mean!r}; allowed: above 0 and at most maximum={self.maximum}")

    def law(self) -> LengthLaw:
        scale = self.deviation * math.sqrt(2)
        edges = [length + 0.5 for length in range(1, self.maximum + 1)]
        below = [0.0, *((1 + math.erf((edge - self.mean) / scale)) / 2 for edge in edges)]
        return _table(1, [high - low for low, high in itertools.pairwise(below)])


@dataclass(frozen=True)
class Uniform:
    """Every length from ``minimum`` to ``maximum`` is equally likely."""

    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        make_plain(self)
        whole("Uniform.maximum", self.maximum, 1, LARGEST_SIZE)
        whole("Uniform.minimum", self.minimum, 1, self.maximum)

    def law(self) -> LengthLaw:
        return LengthLaw(LAW_UNIFORM, self.minimum, self.maximum, ())


@dataclass(frozen=True)
class Fixed:
    """Every span has the same length."""

    length: int

    def __post_init__(self) -> None:
        make_plain(self)
        whole("Fixed.length", self.length, 1, LARGEST_SIZE)

    def law(self) -> LengthLaw:
        return LengthLaw(LAW_UNIFORM, self.length, self.length, ())


Lengths = Union[Geometric, Poisson, Normal, Uniform, Fixed]  # noqa: UP007
