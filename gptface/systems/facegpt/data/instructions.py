"""Instructions in the layout of LLaVA's ``conversations`` JSON, as one array or one object a line, checked while read.

    [{"id": "1", "image": "cat.jpg", "conversations": [
        {"from": "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "A cat."}]}, …]

``image`` may be missing. ``<FACE>`` in an answer is a face in 3D; other markers of sequences are taken out of texts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptface.errors import InputError
from gptface.files import atomic_write, refuse_url
from gptface.systems.facegpt.data.conversations import FACE, Conversation, Turn

__all__ = ["Instruction", "read_instructions", "write_instructions"]

_ROLES = {"human": "human", "user": "human", "gpt": "assistant", "assistant": "assistant"}
_MARKERS = re.compile(r"<\s*(?:image|human|assistant)\s*>", re.IGNORECASE)
_EXTENSIONS = (".json", ".jsonl")


@dataclass(frozen=True)
class Instruction:
    """One row of a file.

    Attributes:
        conversation: what is said.
        picture: the file of its picture; ``None`` without one.
    """

    conversation: Conversation
    picture: Path | None = None


def read_instructions(
    path: str | os.PathLike[str], pictures: str | os.PathLike[str] | None = None
) -> list[Instruction]:
    """All rows of a file.

    Turns of ``system`` are left out. A last question that nobody answers is, too.

    Args:
        path: ``.json`` (an array of rows) or ``.jsonl`` (a row a line).
        pictures: folder that the rows' ``image`` lies in; needed where a row has one.

    Raises:
        InputError: the file is missing, empty or not JSON, a row is not of this layout, or a picture does not exist;
            the sentence names the file and the row.
    """
    refuse_url("instructions", path)
    file = Path(path)
    if file.suffix.lower() not in _EXTENSIONS:
        raise InputError(f"instructions: {file}: its name must end with {' or '.join(_EXTENSIONS)}")
    if not file.is_file():
        raise InputError(f"instructions: {file}: there is no such file")
    folder = None if pictures is None else Path(pictures)
    if folder is not None and not folder.is_dir():
        raise InputError(f"instructions: {folder}: there is no such folder of pictures")
    found = [_instruction(row, f"instructions: {file}: {place}", folder) for place, row in _rows(file)]
    if not found:
        raise InputError(f"instructions: {file}: holds no conversation")
    return found


def _rows(file: Path) -> Iterator[tuple[str, Any]]:
    """Every row with its place in the file for a person: "row 3", "line 3"."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"instructions: {file}: cannot be read as UTF-8 text ({error})") from None
    if file.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"line {number}", _parsed(line, f"instructions: {file}: line {number}")
        return
    rows = _parsed(text, f"instructions: {file}")
    if not isinstance(rows, list):
        raise InputError(f"instructions: {file}: holds {_kind(rows)}; it must hold an array of conversations")
    yield from ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON ({error})") from None


def _instruction(row: Any, where: str, folder: Path | None) -> Instruction:
    if not isinstance(row, dict):
        raise InputError(f"{where} is {_kind(row)}; it must be an object")
    said = row.get("conversations")
    if not isinstance(said, list):
        raise InputError(f"{where}: conversations is {_kind(said)}; it must be an array of turns")
    turns: list[Turn] = []
    for turn in said:
        role, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        if role == "system" and not turns:
            continue
        if not isinstance(role, str) or role not in _ROLES or not isinstance(text, str):
            shown = json.dumps(turn, ensure_ascii=False)[:60]
            raise InputError(f'{where}: a turn is {shown}; it must be {{"from": "human" or "gpt", "value": text}}')
        text = _MARKERS.sub(" ", text).strip()
        if _ROLES[role] == "human":
            text = text.replace(FACE, " ").strip()
        turns.append(Turn("human" if _ROLES[role] == "human" else "assistant", text))
    if turns and turns[-1].role == "human":
        del turns[-1]
    picture = _picture(row.get("image"), where, folder)
    try:
        return Instruction(Conversation(tuple(turns), image=picture is not None, kind="instruction"), picture)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _picture(name: Any, where: str, folder: Path | None) -> Path | None:
    if name is None:
        return None
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: image is {_kind(name)}; it must be the name of a file")
    if folder is None:
        raise InputError(f"{where}: has the picture {name}, but no folder of pictures is named")
    picture = folder / name
    if not picture.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{where}: the picture {name} lies outside {folder}")
    if not picture.is_file():
        raise InputError(f"{where}: there is no picture {picture}")
    return picture


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "missing"}
    return names.get(type(value), "a number")


def write_instructions(path: str | os.PathLike[str], instructions: Iterable[Instruction]) -> int:
    """Write a file that :func:`read_instructions` reads; returns the number of rows.

    Pictures are named by their files' names: they are to lie in one folder.

    Raises:
        InputError: the name does not end with ``.json`` or ``.jsonl``, or the file cannot be written.
    """
    file = Path(path)
    if file.suffix.lower() not in _EXTENSIONS:
        raise InputError(f"instructions: {file}: its name must end with {' or '.join(_EXTENSIONS)}")
    rows = [_row(number, instruction) for number, instruction in enumerate(instructions)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = "\n".join(lines) + "\n" if file.suffix.lower() == ".jsonl" else "[\n" + ",\n".join(lines) + "\n]\n"
    try:
        with atomic_write(file) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"instructions: {file}: cannot be written ({error})") from None
    return len(rows)


def _row(number: int, instruction: Instruction) -> dict[str, Any]:
    row: dict[str, Any] = {"id": f"{number:06d}"}
    if instruction.picture is not None:
        row["image"] = instruction.picture.name
    row["conversations"] = [
        {
            "from": "human" if turn.role == "human" else "gpt",
            "value": f"<image>\n{turn.text}" if instruction.picture is not None and index == 0 else turn.text,
        }
        for index, turn in enumerate(instruction.conversation.turns)
    ]
    return row
