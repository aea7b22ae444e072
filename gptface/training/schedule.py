"""The budget of a run (steps, minutes or both) and the learning rate that follows it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from gptface.training.configuration import LoopSection

__all__ = ["FINAL_RATE", "Budget", "rate_factor"]

# Share of the peak learning rate where the cosine ends: not 0, so that the last steps still learn.
FINAL_RATE = 0.01


class Budget:
    """How much of a run is spent: the larger of the shares of its steps and of its minutes.

    Args:
        section: gives ``steps`` and ``minutes``, at least one of them.
        seconds: already spent before this process, as a checkpoint tells.
        clock: for tests.
    """

    def __init__(self, section: LoopSection, seconds: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._steps = section.steps
        self._limit = None if section.minutes is None else 60.0 * section.minutes
        self._clock = clock
        self._origin = clock() - seconds

    @property
    def timed(self) -> bool:
        """Whether the clock has a say, so that processes must agree on the time."""
        return self._limit is not None

    @property
    def seconds(self) -> float:
        """Spent in all, former processes of this run included."""
        return self._clock() - self._origin

    def spent(self, step: int) -> float:
        """Share of the budget spent when ``step`` steps are done; 1 or more: the end."""
        by_steps = step / self._steps if self._steps is not None else 0.0
        by_time = self.seconds / self._limit if self._limit is not None else 0.0
        return max(by_steps, by_time)

    def remaining_seconds(self, share: float) -> float | None:
        """An estimate from the pace so far; ``None`` before there is one."""
        return self.seconds * (1 - share) / share if 0 < share < 1 else (0.0 if share >= 1 else None)


def rate_factor(section: LoopSection, step: int, share: float) -> float:
    """What the peak learning rates are multiplied by: a linear warm-up over ``warmup_steps``, times a cosine from 1 to
    ``FINAL_RATE`` over the budget's share.

    Args:
        step: 0 for the first.
        share: :meth:`Budget.spent` before the step.
    """
    warm = min(1.0, (step + 1) / (section.warmup_steps + 1))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)
