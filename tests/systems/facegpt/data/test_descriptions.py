"""What is said of drawn faces is true of their shapes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data.procedural.randomness import Draws
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.data.descriptions import about_drawn_face, observed
from gptface.systems.facegpt.data.emotions import EMOTIONS, emotion_shapes
from gptface.systems.facegpt.data.movement import LEVELS
from gptface.systems.facegpt.data.sentences import Sentences
from gptface.systems.facegpt.data.wording import Item
from tests.systems.facegpt.data.test_sentences import ICT, check_english, small_model


@pytest.fixture(scope="module")
def sentences() -> Sentences:
    return Sentences(small_model())


def test_every_movement_is_observed_as_what_it_is(sentences: Sentences) -> None:
    for name, needed in sentences.movements.items():
        for level, weight in LEVELS.items():
            found = observed(sentences, {shape: share * weight for shape, share in needed.items()})
            assert found == (Item("movement", name, level),), name


def test_every_mixed_emotion_is_observed_as_what_it_is(sentences: Sentences) -> None:
    for name, emotion in EMOTIONS.items():
        for level in LEVELS:
            found = observed(sentences, emotion_shapes(emotion, ICT, level))
            if len(emotion.shapes) > 2:
                assert found[0].kind == "emotion" and found[0].name == name


def test_a_face_at_rest_is_neutral(sentences: Sentences) -> None:
    assert observed(sentences, {}) == observed(sentences, {"jawOpen": 0.05}) == (Item("emotion", "neutral"),)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(ICT)), st.floats(0, 1), max_size=6),
    st.integers(0, 2**40),
    st.floats(-40, 40),
)
def test_what_is_said_is_seen(sentences: Sentences, shapes: dict[str, float], number: int, yaw: float) -> None:
    items = observed(sentences, shapes)
    meant, _ = sentences.meaning(items)
    if items and items[0].kind == "movement":
        assert all(shapes.get(name, 0) >= 0.14 for name in meant)
    conversation = about_drawn_face(Draws(0, number), sentences, shapes, yaw)
    question, answer = (turn.text for turn in conversation.turns)
    assert conversation.image
    assert conversation.faces == (conversation.kind != "picture words")
    if conversation.kind == "picture words":
        assert not re.search("3D|mesh", question)
    if conversation.kind == "picture words" and not answer.startswith(("Yes", "No")):
        check_english(answer)
    assert question[0].isupper() or question[0] == "3"


def drawn(sentences: Sentences, shapes: dict[str, float], yaw: float) -> list[Conversation]:
    return [about_drawn_face(Draws(1, number), sentences, shapes, yaw) for number in range(400)]


def test_about_half_of_the_conversations_want_the_face_alone(sentences: Sentences) -> None:
    found = drawn(sentences, {"jawOpen": 0.8}, 20.0)
    kinds = [conversation.kind for conversation in found]
    assert 150 < kinds.count("reconstruction") < 250 and 80 < kinds.count("picture words") < 190
    answers = {conversation.turns[0].text: conversation.turns[1].text for conversation in found}
    assert answers["Is the mouth open?"].startswith("Yes")
    assert all("right" in answer for question, answer in answers.items() if "turned?" in question)
    assert any(answer.startswith("No") for answer in answers.values())


def test_a_face_turned_a_little_is_not_asked_about(sentences: Sentences) -> None:
    questions = {conversation.turns[0].text for conversation in drawn(sentences, {}, 8.0)}
    assert not any("turned" in question for question in questions)
