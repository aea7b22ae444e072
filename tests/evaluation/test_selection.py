"""Held-out parts of a training set: whole people, and no class lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.evaluation.selection import ENOUGH_FOR_ONE_SPLIT, selection_splits


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=80), st.integers(0, 3))
def test_people_are_never_on_both_sides_and_no_class_is_lost(rows: list[tuple[int, int]], seed: int) -> None:
    labels, people = (np.array(column) for column in zip(*rows, strict=True))
    try:
        splits = selection_splits(labels, people, seed=seed)
    except InputError as error:
        assert "a class is missing" in str(error)
        return
    for held_out in splits:
        assert held_out.any()
        assert not set(people[held_out]) & set(people[~held_out])
        assert set(labels[~held_out]) == set(labels)


def test_each_row_of_a_small_set_is_held_out_once() -> None:
    labels = np.arange(200) % 2
    splits = selection_splits(labels, np.arange(200) // 4)
    assert len(splits) == 5 and (np.sum(splits, axis=0) == 1).all()


def test_a_large_set_is_split_once_in_the_share_asked_for() -> None:
    labels = np.arange(ENOUGH_FOR_ONE_SPLIT) % 3
    (held_out,) = selection_splits(labels, share=0.2)
    assert held_out.mean() == pytest.approx(0.2)
    (again,), (other,) = selection_splits(labels, share=0.2), selection_splits(labels, share=0.2, seed=1)
    assert (held_out == again).all() and (held_out != other).any()


@pytest.mark.parametrize("people", [np.zeros(20), np.arange(20) % 2])
def test_a_class_of_one_person_cannot_be_chosen_by(people: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"20 training faces of [12] people: .* a class is missing"):
        selection_splits(np.arange(20) % 2, people)
