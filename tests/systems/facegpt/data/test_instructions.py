"""Files in LLaVA's layout are read whole, or refused in one sentence that names the row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.systems.facegpt.data.conversations import FACE, Conversation, Turn
from gptface.systems.facegpt.data.instructions import Instruction, read_instructions, write_instructions

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>"), max_size=30).map(str.strip)


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "human" if index % 2 == 0 else "gpt", "value": text} for index, text in enumerate(texts)]


def written(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3), min_size=1, max_size=4),
    suffix=st.sampled_from((".json", ".jsonl")),
)
def test_what_is_written_is_read(tmp_path: Path, rows: list[list[tuple[str, str]]], suffix: str) -> None:
    instructions = [
        Instruction(
            Conversation(tuple(turn for ask, say in row for turn in (Turn("human", ask), Turn("assistant", say))))
        )
        for row in rows
    ]
    file = tmp_path / f"rows{suffix}"
    assert write_instructions(file, instructions) == len(rows)
    assert read_instructions(file) == instructions


def test_pictures_and_faces(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    row = {"id": 7, "image": "a.png", "conversations": turns("<image>\nThe face of this man <FACE>?", f"Here: {FACE}.")}
    file = written(tmp_path / "rows.json", [row, {"conversations": turns("Hi<image>", "Hello <image>")}])
    first, second = read_instructions(file, tmp_path / "pictures")
    assert first.picture == tmp_path / "pictures" / "a.png" and first.conversation.image
    assert [turn.text for turn in first.conversation.turns] == ["The face of this man  ?", f"Here: {FACE}."]
    assert second.picture is None and second.conversation.turns[1].text == "Hello"
    write_instructions(tmp_path / "again.jsonl", [first])
    assert read_instructions(tmp_path / "again.jsonl", tmp_path / "pictures") == [first]


def test_system_turns_and_open_questions_are_left_out(tmp_path: Path) -> None:
    said = [{"from": "system", "value": "Be kind."}, *turns("Hi", "Hello", "And?")]
    (found,) = read_instructions(written(tmp_path / "rows.json", [{"conversations": said}]))
    assert [turn.text for turn in found.conversation.turns] == ["Hi", "Hello"]


GOOD = {"conversations": turns("Hi", "Hello")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[]", "holds no conversation"),
        (GOOD, "holds an object; it must hold an array"),
        ([GOOD, 3], "row 2 is a number; it must be an object"),
        ([{"id": 1}], "row 1: conversations is missing; it must be an array"),
        ([{"conversations": "Hi"}], "row 1: conversations is a text"),
        ([{"conversations": []}], "row 1: conversation: its turns are none"),
        ([{"conversations": turns("Hi")}], "row 1: conversation: its turns are none"),
        ([GOOD, {"conversations": turns("Hi", "a")[::-1]}], "row 2: conversation: its turns are assistant"),
        ([{"conversations": ["Hi", "Hello"]}], 'row 1: a turn is "Hi"; it must be'),
        ([{"conversations": [{"from": "cat", "value": "x"}]}], "row 1: a turn is"),
        ([{"conversations": [{"from": "human", "value": 3}]}], "row 1: a turn is"),
        ([{"conversations": [{"from": ["human"], "value": "x"}]}], "row 1: a turn is"),
        ([{**GOOD, "image": 3}], "row 1: image is a number"),
        ([{**GOOD, "image": "b.png"}], "row 1: there is no picture"),
        ([{**GOOD, "image": "../rows.json"}], "row 1: the picture ../rows.json lies outside"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError) as caught:
        read_instructions(written(tmp_path / "rows.json", content), tmp_path / "pictures")
    assert message in str(caught.value) and "rows.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    good = json.dumps(GOOD)
    with pytest.raises(InputError, match="line 3: is not JSON"):
        read_instructions(written(tmp_path / "rows.jsonl", f"{good}\n\n{{\n"))
    assert len(read_instructions(written(tmp_path / "rows.jsonl", f"{good}\n\n{good}\n"))) == 2


def test_a_picture_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has the picture a\.png, but no folder"):
        read_instructions(written(tmp_path / "rows.json", [{**GOOD, "image": "a.png"}]))


@pytest.mark.parametrize("name", ["missing.json", "rows.txt", "https://example.org/rows.json"])
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    path = name if name.startswith("https") else tmp_path / name
    with pytest.raises(InputError, match="instructions"):
        read_instructions(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        read_instructions(tmp_path / "rows.json")


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_instructions(tmp_path / "file" / "rows.json", [])
    with pytest.raises(InputError, match="must end with"):
        write_instructions(tmp_path / "rows.csv", [])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
