"""Markdown as text: what is code in a page and what is prose."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["CODE", "LINK", "change_prose", "plain"]

# A fence with what it holds, or code within a line: nothing in it is Markdown.
FENCE = r"^(?P<fence>```+|~~~+)[^\n]*\n.*?^(?P=fence)[ \t]*$"
CODE = re.compile(rf"{FENCE}|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<start>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<target>[^)\s]+)(?P<end>\))")

_ROLE = re.compile(r":(?:py:)?(?:attr|class|data|exc|func|meth|mod):`([^`<]*?)(?:\s*<[^>]*>)?`")
_FENCE = re.compile(FENCE, re.MULTILINE | re.DOTALL)


def change_prose(text: str, change: Callable[[str], str]) -> str:
    """``text`` with ``change`` made to all that stands outside fences."""
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def plain(text: str) -> str:
    """``:func:`~a.b.c``` as ```c```, ``:class:`a.b``` as ```b``'s own name, double backticks as single ones."""
    text = _ROLE.sub(lambda found: f"`{found[1].rsplit('.', 1)[-1] if found[1][:1] in '~.' else found[1]}`", text)
    text = re.sub(r"``([^`\n]+(?:\n[^`\n]+)?)``", r"`\1`", text)
    # An indented block after a double colon is code in Sphinx and in Markdown; the second colon is Sphinx's.
    return re.sub(r"::(?=\n\n +\S)", ":", text)
