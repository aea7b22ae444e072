"""Tables of annotations that lie beside pictures: a row a picture, in text with spaces or in CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gptface.errors import InputError

__all__ = ["find_file", "read_table"]


def find_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of ``names``, paths below ``folder``, that is there.

    Raises:
        InputError: none is; it names them.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder}: {what} is missing; sought: {', '.join(names)}")


def read_table(path: Path, columns: int, header: int, what: str) -> tuple[list[str], np.ndarray, list[str]]:
    """Names of pictures, whole numbers ``(n, columns)``, and the columns' names where the file has them.

    Args:
        path: a text with spaces (``header`` lines before the rows: their number, the columns' names), or a CSV with one
            line of names.
        columns: numbers in a row.
        what: the rows hold.

    Raises:
        InputError: a row with another number of columns, something that is no number, a name that occurs twice, or
            another number of rows than the file says; it names file and line.
    """
    csv = path.suffix.lower() == ".csv"
    names: list[str] = []
    values: list[list[int]] = []
    titles: list[str] = []
    announced: int | None = None
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                fields = [field.strip() for field in line.split(",")] if csv else line.split()
                if number <= (1 if csv else header):
                    if len(fields) == 1 and fields[0].isdigit():
                        announced = int(fields[0])
                    else:
                        titles = fields[1:] if csv else fields
                    continue
                if not any(fields):
                    continue
                if len(fields) != columns + 1:
                    raise InputError(
                        f"{path}, line {number}: {len(fields)} fields; allowed: a name and {columns} {what}"
                    )
                try:
                    values.append([int(field) for field in fields[1:]])
                except ValueError:
                    raise InputError(f"{path}, line {number}: {what} must be whole numbers") from None
                names.append(fields[0])
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not names:
        raise InputError(f"{path}: holds no row")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(f"{path}: {twice} occurs twice")
    if announced is not None and announced != len(names):
        raise InputError(f"{path}: says that it has {announced} rows and has {len(names)}; it may be cut")
    return names, np.array(values, dtype=np.int32).reshape(len(names), columns), titles
