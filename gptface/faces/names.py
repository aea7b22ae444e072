"""Names looked up in a table of the vocabulary."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from gptface.errors import InputError

__all__ = ["find"]

Entry = TypeVar("Entry")


def find(kind: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """The entry of ``name``.

    Args:
        kind: of the name, for the error: ``"attribute"``, …
        name: as it stands in the table; nothing is guessed.
        table: name to entry.

    Raises:
        InputError: the table has no such name; the sentence says which are nearest.
    """
    if name in table:
        return table[name]
    folded = {key.casefold(): key for key in table}
    wanted = name.strip().casefold().replace(" ", "_").replace("-", "_")
    near = [folded[key] for key in difflib.get_close_matches(wanted, folded, n=3, cutoff=0.4)]
    near += [key for key in table if wanted and wanted in key.casefold() and key not in near]
    hint = f"the nearest are {', '.join(near[:5])}" if near else f"it must be one of {', '.join(table)}"
    raise InputError(f"{kind} {name!r} is unknown; {hint}")
