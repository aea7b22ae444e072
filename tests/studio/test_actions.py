"""Actions without a page: edits, made faces, captions, and the sentences of what cannot be done."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from gptface.errors import InputError
from gptface.studio import Actions, Decoding, Wish
from gptface.studio.actions import sentence, wish_title
from gptface.studio.names import attribute_choices, expression_choices, region_choices
from gptface.studio.wishes import LONGEST_WORDS, checked_words

QUICK = Decoding(steps=2, match_guidance="none")


def test_candidates_come_one_by_one_each_from_its_seed(actions: Actions) -> None:
    photo = actions.drawn_face(19).now.picture
    wish = Wish("attribute", "Blond_Hair", decoding=Decoding(seed=3, steps=2, match_guidance="none"))
    several = list(actions.edits(photo, wish, 2))
    alone = next(actions.edits(photo, Wish("attribute", "Blond_Hair", decoding=Decoding(4, 2, match_guidance="none"))))
    assert [each.seed for each in several] == [3, 4]
    assert np.array_equal(several[1].picture, alone.picture)
    assert not np.array_equal(several[0].picture, several[1].picture)
    assert "found by the parser" in alone.told and "seed 4" in alone.told


def test_what_is_not_brushed_stays(actions: Actions) -> None:
    photo = actions.drawn_face(19).now.picture
    mask = np.zeros((64, 64), dtype=bool)
    mask[:20] = True
    for words in ("", "a hat"):
        made = next(actions.edits(photo, Wish("brush", mask=mask, words=words, decoding=QUICK)))
        assert np.array_equal(made.picture[20:], photo[20:])
        assert not np.array_equal(made.picture[:20], photo[:20])


def test_a_cover_is_found_and_where_there_is_none_that_is_said(actions: Actions) -> None:
    covered = actions.drawn_face(3, covered=True).now.picture
    made = next(actions.edits(covered, Wish("cover", decoding=QUICK)))
    assert (made.picture != covered).any()
    with pytest.raises(InputError, match="occluder"):
        next(actions.edits(actions.drawn_face(19).now.picture, Wish("cover", decoding=QUICK)))


def test_faces_of_words_and_words_of_a_face(actions: Actions) -> None:
    made = list(actions.faces("a bald man", QUICK, 2))
    assert [each.seed for each in made] == [0, 1] and made[0].picture.shape == (64, 64, 3)
    words = actions.describe(made[0].picture, candidates=2)
    assert 1 <= len(words) <= 2 and all(words)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Wish("attribute", "Blonde_Hair"), "Blond_Hair"),
        (lambda: Wish("expression", "joy"), "joy"),
        (lambda: Wish("region"), "at least one part"),
        (lambda: Wish("brush"), "Nothing is brushed"),
        (lambda: Decoding(seed=-1), "seed is -1"),
        (lambda: Decoding(steps=1000), "1000 steps"),
        (lambda: checked_words("a" * (LONGEST_WORDS + 1)), "301 letters"),
    ],
)
def test_what_cannot_be_wished_is_said(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # type: ignore[operator]


def test_counts_out_of_range_are_refused(actions: Actions) -> None:
    photo = actions.drawn_face(19).now.picture
    with pytest.raises(InputError, match="9 at once"):
        next(actions.edits(photo, Wish("attribute", "Bald"), 9))
    with pytest.raises(InputError, match="seeds end at"):
        next(actions.faces("", Decoding(seed=2**31 - 1), 2))
    with pytest.raises(InputError, match="number of the face"):
        actions.drawn_face(-1)


def test_a_sentence_for_every_failure(caplog: pytest.LogCaptureFixture) -> None:
    assert sentence(InputError("That is too large.")) == "That is too large."
    assert not caplog.records
    with caplog.at_level(logging.ERROR):
        assert "RuntimeError" in sentence(RuntimeError("secret: /home/somebody"))
    assert "secret" not in sentence(RuntimeError("secret")) and "secret" in caplog.text
    assert "memory" in sentence(MemoryError())


def test_words_are_one_line() -> None:
    assert checked_words("  a man \n with\ta hat ") == "a man with a hat"
    assert checked_words(None) == ""


def test_menus_hold_the_whole_vocabulary() -> None:
    assert len(attribute_choices()) == 40 and attribute_choices(["Bald"])[0] == ("Bald", "Bald")
    assert dict(attribute_choices())["5 o’clock shadow"] == "5_o_Clock_Shadow"
    assert len(expression_choices()) == 8
    assert ("Hair", "hair") in region_choices() and ("Lower face (area)", "lower_face") in region_choices()


def test_titles_are_short_and_say_the_wish() -> None:
    assert wish_title(Wish("attribute", "no Eyeglasses")) == "No eyeglasses"
    assert wish_title(Wish("region", regions=("hair",), words="red hair")) == "Hair: “red hair”"
    assert wish_title(Wish("cover")) == "Uncovered"
