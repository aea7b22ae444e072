"""Which of the tokens just predicted are kept at a step: the order of decoding.

An order gives every position a score; the sampler keeps as many of the best still-unknown positions as the schedule
asks for. Orders know neither the network nor the schedule.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops.tracing import constant_in_traces
from gptface.systems.gptface.generation.noise import gumbel

__all__ = ["ORDERS", "ConfidenceOrder", "HaltonOrder", "Order", "RandomOrder", "keep_best"]


@dataclass(frozen=True)
class Order:
    """Base of the orders."""

    def scores(self, log_probabilities: Tensor, progress: Tensor, uniform: Tensor) -> Tensor:
        """Higher is decoded sooner.

        Args:
            log_probabilities: ``(B, L)``, the model's log-probability of the token that was drawn at each position; 0
                where none was, since the position is known.
            progress: ``(B,)`` in [0, 1], 0 at a sample's first step and 1 at its last.
            uniform: ``(B, L)`` numbers in [0, 1), the sample's own.

        Returns:
            ``(B, L)`` floats.
        """
        raise TypeError("Order is abstract: use ConfidenceOrder, HaltonOrder or RandomOrder")


@dataclass(frozen=True)
class ConfidenceOrder(Order):
    """The most confident tokens first, with Gumbel noise whose temperature falls linearly to 0 (MaskGIT).

    Without noise (``temperature=0``) decoding is greedy about where it looks, and pictures come out flat.
    """

    temperature: float = 4.5

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"temperature must not be negative, got {self.temperature}")

    def scores(self, log_probabilities: Tensor, progress: Tensor, uniform: Tensor) -> Tensor:
        scale = (self.temperature * (1.0 - progress)).unsqueeze(1)
        return log_probabilities + scale * gumbel(uniform)


@dataclass(frozen=True)
class RandomOrder(Order):
    """Uniformly random positions."""

    def scores(self, log_probabilities: Tensor, progress: Tensor, uniform: Tensor) -> Tensor:
        return uniform


@dataclass(frozen=True)
class HaltonOrder(Order):
    """Positions of a square image spread out by the Halton sequence in bases 2 and 3 (arXiv 2503.17076).

    Tokens decoded in one step are drawn independently of one another, so they had better lie far apart.
    """

    @staticmethod
    def ranks(side: int) -> Tensor:
        """``(side ** 2,)`` int64: when each position comes up, a permutation of ``0 … side² − 1``."""
        return torch.tensor(_halton_ranks(side), dtype=torch.int64)

    def scores(self, log_probabilities: Tensor, progress: Tensor, uniform: Tensor) -> Tensor:
        positions = log_probabilities.shape[1]
        side = 0
        while side * side < positions:  # math.isqrt cannot be traced
            side += 1
        if side * side != positions:
            raise InputError(f"HaltonOrder is for images of a square number of tokens, got {positions}")
        order = -self.ranks(side).to(device=uniform.device, dtype=uniform.dtype)
        return order.expand_as(uniform)


# By the names of `gptface generate --order`.
ORDERS: Mapping[str, type[Order]] = {"confidence": ConfidenceOrder, "halton": HaltonOrder, "random": RandomOrder}


@constant_in_traces
@functools.cache
def _halton_ranks(side: int) -> tuple[int, ...]:
    ranks = [-1] * (side * side)
    found, index = 0, 1
    while found < side * side:
        position = int(_radical_inverse(index, 2) * side) * side + int(_radical_inverse(index, 3) * side)
        if ranks[position] < 0:
            ranks[position] = found
            found += 1
        index += 1
    return tuple(ranks)


def _radical_inverse(index: int, base: int) -> float:
    value, digit = 0.0, 1.0 / base
    while index:
        value += digit * (index % base)
        index //= base
        digit /= base
    return value


def keep_best(scores: Tensor, unknown: Tensor, count: Tensor) -> Tensor:
    """The ``count`` best unknown positions of every sample; ties go to the lower position.

    Args:
        scores: ``(B, L)`` floats.
        unknown: ``(B, L)`` bool.
        count: ``(B,)`` int64.

    Returns:
        ``(B, L)`` bool, a subset of ``unknown``.
    """
    order = scores.masked_fill(~unknown, -torch.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, places)
    return unknown & (ranks < count.unsqueeze(1))
