"""Making that is ended before it is done, and that one thing is made at a time."""

from __future__ import annotations

import copy
import threading
import time

import numpy as np
import pytest

from gptface.studio import Actions, Decoding, Wish
from gptface.studio.stopping import Making, Stopped, StopSign

QUICK = Decoding(steps=2, match_guidance="none")
LONG = Wish("attribute", "Blond_Hair", decoding=Decoding(steps=64, match_guidance="exact"))


def test_an_edit_ends_at_its_next_step_and_the_next_edit_is_as_ever(actions: Actions) -> None:
    photo = actions.drawn_face(19).now.picture
    sign = StopSign()
    ended: list[BaseException] = []

    def edit() -> None:
        try:
            next(actions.edits(photo, LONG, sign=sign))
        except Stopped as stopped:
            ended.append(stopped)

    wanted = next(actions.edits(photo, Wish("attribute", "Blond_Hair", decoding=QUICK)))
    thread = threading.Thread(target=edit)
    thread.start()
    while not actions.turn.locked():
        time.sleep(0.001)
    time.sleep(0.3)
    assert thread.is_alive()
    sign.put_up()
    thread.join(30)
    assert len(ended) == 1 and not actions.turn.locked(), "it ended by the sign, and let the next have its turn"
    again = next(actions.edits(photo, Wish("attribute", "Blond_Hair", decoding=QUICK)))
    assert np.array_equal(again.picture, wanted.picture)


def test_what_is_stopped_before_its_turn_makes_nothing(actions: Actions, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = actions.drawn_face(19).now.picture
    sign = StopSign()
    made = actions.edits(photo, Wish("attribute", "Bald", decoding=QUICK), 3, sign)
    next(made)
    sign.put_up()
    monkeypatch.setattr(actions.generator, "edit", lambda *_, **__: pytest.fail("the generator was asked"))
    with pytest.raises(Stopped):
        next(made)
    with pytest.raises(Stopped):
        next(actions.faces("a bald man", QUICK, sign=sign))


def test_a_face_of_words_is_the_same_under_a_sign(actions: Actions) -> None:
    made = next(actions.faces("a bald man", QUICK, sign=StopSign()))
    plain = actions.generator.generate("a bald man", 0, settings=QUICK.settings())
    assert np.array_equal(made.picture, plain.images[0])


def test_what_was_stopped_stays_stopped_while_something_new_is_made() -> None:
    making = Making()
    former = making.begin()
    making.stop()
    new = making.begin()
    assert former.is_up and not new.is_up
    other = copy.deepcopy(making)
    other.stop()
    assert other.sign is not making.sign and not new.is_up
