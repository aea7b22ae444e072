"""How many tokens are still unknown after each step of iterative decoding.

A schedule is a curve γ from 1 (nothing decoded) to 0 (all decoded) over the progress of decoding. It says nothing of
which tokens come first (``selection``), of what they become (``guidance``, ``sampler``) or of the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.errors import InputError

__all__ = ["CosineSchedule", "LinearSchedule", "PowerSchedule", "Ramp", "Schedule", "StepPlan", "plan_steps"]


@dataclass(frozen=True)
class Schedule:
    """Base of the schedules: the share of the initially unknown tokens that is still unknown at a given progress."""

    def __call__(self, progress: float) -> float:
        """γ(progress): 1 at progress 0, 0 at progress 1, never rising."""
        raise TypeError("Schedule is abstract: use CosineSchedule, LinearSchedule or PowerSchedule")


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """``cos(π/2 · progress)``: few tokens while the picture is open, many once it is settled (MaskGIT, 2202.04200)."""

    def __call__(self, progress: float) -> float:
        return math.cos(0.5 * math.pi * progress) if progress < 1 else 0.0


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """``1 − progress``: the same number of tokens at every step (Mask-Predict, arXiv 1904.09324)."""

    def __call__(self, progress: float) -> float:
        return 1.0 - progress


@dataclass(frozen=True)
class PowerSchedule(Schedule):
    """``1 − progress ** exponent``: above 1 starts slower than linear, below 1 starts faster."""

    exponent: float = 2.0

    def __post_init__(self) -> None:
        if not self.exponent > 0:
            raise InputError(f"exponent must be positive, got {self.exponent}")

    def __call__(self, progress: float) -> float:
        return 1.0 - progress**self.exponent


@dataclass(frozen=True)
class Ramp:
    """A weight in [0, 1] over the progress of decoding: ``start + (1 − start) · progress ** power``.

    Guidance that is strong while most tokens are unknown harms, late guidance helps (arXiv 2507.08965), so every
    guidance here grows along a ramp. ``Ramp(start=1)`` is constant guidance.
    """

    start: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1 or not self.power > 0:
            raise InputError(f"a ramp needs start in [0, 1] and power above 0, got {self.start} and {self.power}")

    def __call__(self, progress: Tensor) -> Tensor:
        """The weight at ``progress`` (any shape, in [0, 1]); same shape."""
        return self.start + (1.0 - self.start) * progress**self.power


@dataclass(frozen=True)
class StepPlan:
    """What :func:`plan_steps` decided, per sample.

    Attributes:
        remaining: ``(B, steps + 1)`` int64: tokens unknown before step t, for ``t = 0 … steps``; the last column is 0.
        progress: ``(B, steps)`` float32: 0 at a sample's first step, 1 at its last (1 throughout if it has one step).
        steps: steps until the last sample of the batch is done.
    """

    remaining: Tensor
    progress: Tensor
    steps: int


def plan_steps(unknown: Sequence[int], steps: int, schedule: Schedule) -> StepPlan:
    """Apply ``schedule`` to every sample's own count of initially unknown tokens.

    Sample b with n unknown tokens takes ``min(steps, n)`` steps: each decodes at least one token and the last decodes
    all that are left. Before step t (counted from 0) ``⌊γ(t / steps_b) · n⌋`` tokens are unknown, moved by as little as
    that rule asks. A sample's column does not depend on its neighbours in the batch.

    Args:
        unknown: number of initially unknown tokens of each sample, 0 allowed.
        steps: most steps a sample may take, at least 1.
    """
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    longest = max((min(steps, count) for count in unknown), default=0)
    remaining = torch.zeros(len(unknown), longest + 1, dtype=torch.int64)
    progress = torch.ones(len(unknown), longest, dtype=torch.float32)
    for row, count in enumerate(unknown):
        own = min(steps, count)
        left = count
        for step in range(own):
            remaining[row, step] = left
            progress[row, step] = step / (own - 1) if own > 1 else 1.0
            # The tolerance keeps γ·n = 31.999999… from losing a token to rounding.
            wanted = math.floor(schedule((step + 1) / own) * count + 1e-6)
            left = max(min(wanted, left - 1), own - step - 1)
    return StepPlan(remaining, progress, longest)
