"""Output on terminals that cannot show every letter: what has a plain form is written in it, the rest as a number."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["any_terminal"]

PLAIN = {
    "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "→": "->", "←": "<-", "≤": "<=", "≥": ">=",
    "≈": "~", "±": "+-", "²": "^2", "³": "^3", "“": '"', "”": '"', "‘": "'", "’": "'", "σ": "sigma", "μ": "u",
}  # fmt: skip
NAME = "gptface.plain"


def _plain(letter: str) -> str:
    """ASCII for a letter: its plain form, itself without accents, or its number."""
    if letter in PLAIN:
        return PLAIN[letter]
    bare = "".join(part for part in unicodedata.normalize("NFKD", letter) if part.isascii())
    return bare or letter.encode("ascii", "backslashreplace").decode("ascii")


def _write_plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    cannot = error.object[error.start : error.end]
    if all("\udc80" <= letter <= "\udcff" for letter in cannot):  # bytes of a file name that was no text
        return cannot.encode("utf-8", "surrogateescape"), error.end
    return "".join(map(_plain, cannot)), error.end


codecs.register_error(NAME, _write_plainly)


@contextmanager
def any_terminal() -> Iterator[None]:
    """Within it, nothing that is printed fails for want of letters (``LC_ALL=C``, a Windows code page)."""
    changed: list[tuple[io.TextIOWrapper, str]] = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors is not None:
            changed.append((stream, stream.errors))
            stream.reconfigure(errors=NAME)
    try:
        yield
    finally:
        for stream, errors in changed:
            if not stream.closed:
                stream.reconfigure(errors=errors)
