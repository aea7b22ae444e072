"""Histories: steps, undo and redo, candidates; values that two people cannot meet in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.studio import Candidate, History, Step, Wish
from gptface.studio.commands import Place, history_commands
from gptface.studio.history import MOST_STEPS_KEPT


def picture(value: int) -> np.ndarray:
    return np.full((4, 4, 3), value % 256, dtype=np.uint8)


def step(value: int, candidates: int = 1) -> Step:
    made = tuple(Candidate(picture(value + index), index) for index in range(candidates))
    return Step(made, Wish("attribute", "Bald"), title=str(value))


@given(st.lists(st.sampled_from(["add", "undo", "redo"]), max_size=60))
def test_any_order_of_steps_undo_and_redo_is_that_of_a_list_with_a_cursor(orders: list[str]) -> None:
    history = History.start(picture(0), "start")
    expected, cursor = ["start"], 0
    for number, order in enumerate(orders, 1):
        if order == "add":
            history = history.add(step(number))
            expected = [*expected[: cursor + 1], str(number)][-MOST_STEPS_KEPT:]
            cursor = len(expected) - 1
        elif order == "undo":
            history = history.undo()
            cursor = max(cursor - 1, 0)
        else:
            history = history.redo()
            cursor = min(cursor + 1, len(expected) - 1)
        assert [each.title for each in history.steps] == expected
        assert history.position == cursor and history.now.title == expected[cursor]
        assert history.can_undo == (cursor > 0) and history.can_redo == (cursor + 1 < len(expected))


def test_another_candidate_takes_the_place_of_the_first_and_what_grew_on_it_is_gone() -> None:
    history = History.start(picture(0), "start").add(step(10, candidates=3)).add(step(20))
    back = history.undo()
    assert len(back.now.candidates) == 1, "candidates that were not chosen are let go once somebody goes on"
    chosen = History.start(picture(0), "start").add(step(10, candidates=3)).choose(2)
    assert chosen.now.picture[0, 0, 0] == 12 and chosen.now.candidate.seed == 2
    assert len(chosen.steps) == 2 and len(chosen.add(step(30)).now.candidates) == 1
    later = History((*chosen.steps, step(40)), 1).choose(0)
    assert [each.title for each in later.steps] == ["start", "10"]


def test_adding_leaves_the_former_history_as_it_was() -> None:
    first = History.start(picture(0), "start")
    one, other = first.add(step(1)), first.add(step(2))
    assert len(first.steps) == 1
    assert one.now.title == "1" and other.now.title == "2"


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match="no picture yet"):
        _ = History().now
    with pytest.raises(InputError, match="no step 5"):
        History.start(picture(0), "start").at(5)
    with pytest.raises(InputError, match="no candidate 1"):
        History.start(picture(0), "start").choose(1)


def test_when_the_first_picture_is_let_go_the_commands_say_what_they_start_from() -> None:
    history = History.start(picture(0), "start", "gptface generate --output photo.png")
    for number in range(1, MOST_STEPS_KEPT):
        assert not history.full
        history = history.add(step(number))
    assert history.full and history_commands(history.path, Place()).startswith("gptface generate")
    history = history.add(step(MOST_STEPS_KEPT))
    lines = history_commands(history.path, Place()).splitlines()
    assert lines[0] == "# photo.png: the picture after “1”, the first kept" and len(lines) == MOST_STEPS_KEPT
