"""What sets of described faces have beside their pictures: lines of description, pickled lists of names, JSON."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gptface.data.metadata import one_line, without_surrogates
from gptface.errors import InputError

__all__ = ["read_captions", "read_json_object", "read_pickled_names"]


def read_captions(path: Path) -> list[str]:
    """The lines of a text that are not empty, spaces at their ends and breaks within them taken away.

    Raises:
        InputError: the file cannot be read, is no UTF-8, or holds no line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    lines = clean(text.split("\n"))
    if not lines:
        raise InputError(f"{path}: holds no description")
    return lines


def clean(texts: Iterable[str]) -> list[str]:
    """Texts as captions: one line each, empty ones left out."""
    return [line for text in texts if (line := one_line(without_surrogates(text)))]


class _NothingButValues(pickle.Unpickler):
    """Refuses every pickle that names a class or a function, so that nothing of the file is ever run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_pickled_names(path: Path) -> list[str]:
    """The list of texts in a pickle (of Python 2 or 3), read without running anything in it.

    Raises:
        InputError: no such file, or something else in it.
    """
    try:
        names = _NothingButValues(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a broken pickle fails in any way there is
        raise InputError(f"{path}: no pickled list of names ({error})") from None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: no pickled list of names; it holds something else, or nothing")
    return names


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: the file cannot be read, or is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: allowed: a JSON object with an entry a picture")
    return found
