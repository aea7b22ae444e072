"""Conversations keep their order, their words and their markers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data.procedural.randomness import Draws
from gptface.errors import InputError
from gptface.systems.facegpt.data.conversations import (
    FACE,
    Conversation,
    Turn,
    about_picture,
    reconstruction,
    reconstruction_with_words,
    sculpture,
    spoken,
    without_markers,
)

CAPTIONS = st.text(max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), CAPTIONS)
def test_a_face_is_answered_exactly_where_it_is_asked_for(number: int, caption: str) -> None:
    draws = Draws(3, number)
    assert reconstruction(draws).faces == 1
    assert sculpture(draws, "a " + without_markers(caption)).faces == 1
    words, both = about_picture(draws, caption), reconstruction_with_words(draws, caption)
    assert (words is None) == (not without_markers(caption))
    if words is not None:
        assert words.image and not words.face
        assert words.turns[1].text.lower() == without_markers(caption).lower() or not caption.isascii()
    if both is not None:
        assert both.image and both.faces == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40))
def test_the_same_number_gives_the_same_conversation_in_whole_sentences(number: int) -> None:
    for draw in (
        reconstruction,
        lambda draws: reconstruction_with_words(draws, "a smiling man"),
        lambda draws: sculpture(draws, "a smiling man"),
        lambda draws: sculpture(draws, "He smiles. He is young."),
    ):
        found = draw(Draws(0, number))
        assert found == draw(Draws(0, number))
        question = found.turns[0].text
        assert question[0].isupper() or question[0] == "3"
        assert question[-1] in ".?"
        assert not re.search(r"\s\s|\{|\}|\s[.,?]|\.\.", question + found.turns[1].text)


def test_many_numbers_give_many_questions() -> None:
    questions = {reconstruction(Draws(0, number)).turns[0].text for number in range(500)}
    assert len(questions) > 200


@pytest.mark.parametrize(
    "roles", [(), ("human",), ("assistant", "human"), ("human", "human"), ("human", "assistant", "human")]
)
def test_turns_out_of_order_are_refused(roles: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="must take turns"):
        Conversation(tuple(Turn(role, "x") for role in roles))  # type: ignore[arg-type]


def test_a_question_cannot_hold_a_face() -> None:
    with pytest.raises(InputError, match="only answers may hold it"):
        Conversation.of(f"what is {FACE}?", "a token")


@pytest.mark.parametrize("text", ["a <FACE> b", "a < face > b", "a <image>\nb", "a<Assistant>b"])
def test_captions_cannot_forge_markers(text: str) -> None:
    assert without_markers(text) == "a b"


def test_spoken_texts_hold_no_face() -> None:
    texts = list(spoken([reconstruction(Draws(0, 1)), Conversation.of("Hello?", "Yes.")]))
    assert len(texts) == 4 and texts[2:] == ["Hello?", "Yes."]
    assert not any(FACE in text for text in texts)
