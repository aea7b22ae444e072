"""Docstrings as Markdown: names in the manner of Sphinx become code, before mkdocstrings reads them."""

from __future__ import annotations

from typing import Any

import griffe

from docsite.markdown import plain

__all__ = ["PlainRoles"]


class PlainRoles(griffe.Extension):
    """Changes every docstring as it is loaded."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)
