from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.systems.gptface.generation.schedule import cosine_share, plan_steps


def test_curve_falls_from_one_to_zero() -> None:
    values = [cosine_share(step / 100) for step in range(101)]
    assert values[0] == 1 and values[-1] == 0
    assert all(later <= earlier for earlier, later in itertools.pairwise(values))


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6), st.integers(1, 20))
def test_every_step_decodes_something_and_the_last_one_all(counts: list[int], steps: int) -> None:
    plan = plan_steps(counts, steps)
    assert plan.steps == max(min(steps, count) for count in counts)
    assert plan.remaining[:, -1].eq(0).all()
    for row, count in enumerate(counts):
        own = min(steps, count)
        if own:
            assert plan.remaining[row, 0] == count
            assert (plan.remaining[row, :own] > plan.remaining[row, 1 : own + 1]).all()
            assert plan.progress[row, own - 1] == 1 and (own == 1 or plan.progress[row, 0] == 0)
        assert plan.remaining[row, own:].eq(0).all()


@given(st.lists(st.integers(0, 300), min_size=2, max_size=6), st.integers(1, 20))
def test_a_samples_plan_does_not_depend_on_its_neighbours(counts: list[int], steps: int) -> None:
    together = plan_steps(counts, steps)
    for row, count in enumerate(counts):
        alone = plan_steps([count], steps)
        assert torch.equal(together.remaining[row, : alone.steps + 1], alone.remaining[0])
        assert torch.equal(together.progress[row, : alone.steps], alone.progress[0])


def test_cosine_counts_are_maskgits() -> None:
    # ⌊cos(π/2 · t/8) · 256⌋ by hand.
    plan = plan_steps([256], 8)
    assert plan.remaining[0].tolist() == [256, 251, 236, 212, 181, 142, 97, 49, 0]


def test_as_many_steps_as_tokens_take_one_each() -> None:
    assert plan_steps([10], 10).remaining[0].tolist() == list(range(10, -1, -1))


def test_impossible_values_are_named() -> None:
    with pytest.raises(InputError, match="steps"):
        plan_steps([3], 0)
