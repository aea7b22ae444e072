"""Markdown as text: what is code in a page and what is prose."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["CODE", "LINK", "change_prose", "headings"]

# A fence with what it holds, or code within a line: nothing in it is Markdown.
FENCE = r"^(?P<fence>```+|~~~+)[^\n]*\n.*?^(?P=fence)[ \t]*$"
CODE = re.compile(rf"{FENCE}|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<start>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<target>[^)\s]+)(?P<end>\))")

_FENCE = re.compile(FENCE, re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def change_prose(text: str, change: Callable[[str], str]) -> str:
    """``text`` with ``change`` made to all that stands outside fences."""
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def headings(text: str) -> list[str]:
    """The headings of a page, as they are written; comments in its code are none."""
    return _HEADING.findall(_FENCE.sub("", text))
