"""Budgets and learning rates."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gptface.training.configuration import LoopSection
from gptface.training.schedule import FINAL_RATE, Budget, rate_factor


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_further_of_steps_and_minutes_counts() -> None:
    clock = Clock()
    budget = Budget(LoopSection(steps=100, minutes=1), clock=clock)
    assert budget.spent(25) == pytest.approx(0.25)
    clock.now += 30
    assert budget.spent(25) == pytest.approx(0.5)
    assert budget.spent(80) == pytest.approx(0.8)
    assert budget.remaining_seconds(0.5) == pytest.approx(30)
    clock.now += 30
    assert budget.spent(25) >= 1


def test_seconds_of_an_earlier_process_are_spent() -> None:
    clock = Clock()
    budget = Budget(LoopSection(minutes=1), seconds=45, clock=clock)
    assert budget.spent(0) == pytest.approx(0.75)


def test_steps_alone_do_not_look_at_the_clock() -> None:
    clock = Clock()
    budget = Budget(LoopSection(steps=10), clock=clock)
    clock.now += 1e9
    assert budget.spent(3) == pytest.approx(0.3)
    assert not budget.timed


def test_warm_up_then_cosine_down_to_the_final_share() -> None:
    section = LoopSection(steps=100, warmup_steps=9)
    rates = [rate_factor(section, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert all(later > earlier for earlier, later in pairwise(rates[:10]))
    assert all(later < earlier for earlier, later in pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(FINAL_RATE)
    assert rate_factor(section, 50, 0.5) == pytest.approx(FINAL_RATE + (1 - FINAL_RATE) * 0.5)
