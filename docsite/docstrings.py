"""Docstrings as Markdown: names in the manner of Sphinx become code, before mkdocstrings reads them."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["PlainRoles", "plain"]

_ROLE = re.compile(r":(?:py:)?(?:attr|class|data|exc|func|meth|mod):`([^`<]*?)(?:\s*<[^>]*>)?`")


def plain(text: str) -> str:
    """``:func:`~a.b.c``` as ```c```, ``:class:`a.b``` as ```b``'s own name, double backticks as single ones."""
    text = _ROLE.sub(lambda found: f"`{found[1].rsplit('.', 1)[-1] if found[1][:1] in '~.' else found[1]}`", text)
    text = re.sub(r"``([^`\n]+(?:\n[^`\n]+)?)``", r"`\1`", text)
    # An indented block after a double colon is code in Sphinx and in Markdown; the second colon is Sphinx's.
    return re.sub(r"::(?=\n\n +\S)", ":", text)


class PlainRoles(griffe.Extension):
    """Changes every docstring as it is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)
