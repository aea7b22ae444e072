"""General questions are answered rightly, without faces, and the same for the same number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data.procedural.randomness import Draws
from gptface.errors import InputError
from gptface.systems.facegpt.data.general_questions import KINDS, general_conversation, general_questions, main
from gptface.systems.facegpt.data.instructions import read_instructions


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 2**60))
def test_conversations_have_neither_picture_nor_face(seed: int, number: int) -> None:
    found = general_conversation(seed, number)
    assert found == general_conversation(seed, number)
    assert not found.face and not found.image and len(found.turns) in (2, 4)
    for turn in found.turns:
        assert not re.search(r"[{}]|\s\s|\s[.,?]|\.\.|\ba [aeiou]", turn.text)
        assert (turn.text[0].isupper() or turn.text[0].isdigit()) and turn.text[-1] in ".?!"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 2**40))
def test_answers_are_right(kind: str, number: int) -> None:
    question, answer = KINDS[kind][1](Draws(0, number))
    numbers = [int(found) for found in re.findall(r"\d+", question)]
    answered = [int(found) for found in re.findall(r"\d+", answer)]
    if kind == "sum":
        minus = "minus" in question or " - " in question or "Take" in question
        assert answered == [numbers[0] - numbers[1] if minus else sum(numbers)]
    elif kind == "larger":
        assert answered == [min(numbers) if "smaller" in question else max(numbers)]
    elif kind == "story sum":
        assert answered == [numbers[0] - numbers[1] if "away" in question else sum(numbers)]
    elif kind == "sorting" and numbers:
        assert answered == sorted(numbers, reverse="from large" in question)
    elif kind == "counting" and "steps" in question:
        assert answered[0] == numbers[0] and answered[-1] == numbers[1] and len(answered) == numbers[2]


def test_every_question_of_a_kind_has_one_answer() -> None:
    for kind in ("opposite", "plural", "past", "animal", "place", "calendar"):
        answers: dict[str, set[str]] = {}
        for number in range(1500):
            question, answer = KINDS[kind][1](Draws(1, number))
            answers.setdefault(question, set()).add(answer)
        assert not {question: found for question, found in answers.items() if len(found) > 1}


def test_all_kinds_are_drawn_and_texts_vary() -> None:
    found = general_questions(1000)
    assert len({conversation.turns for conversation in found}) > 800
    with pytest.raises(InputError, match="count"):
        general_questions(0)


def test_the_command_writes_a_file_that_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "questions.json"
    assert main([str(file), "--count", "20", "--seed", "3"]) == 0
    assert "20 conversations" in capsys.readouterr().out
    assert [row.conversation for row in read_instructions(file)] == general_questions(20, 3)
    assert main([str(tmp_path / "questions.csv")]) == 2
    assert "must end with" in capsys.readouterr().err
