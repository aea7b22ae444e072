"""Paths as people write them in configurations."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gptface.errors import InputError
from gptface.files import refuse_url

__all__ = ["expand_paths"]


def expand_paths(paths: Sequence[str], key: str) -> list[str]:
    """``~`` and ``$VARIABLES`` replaced; an undefined variable or a URL is an error that names ``key``."""
    expanded = []
    for path in paths:
        result = os.path.expandvars(os.path.expanduser(path))
        if "$" in result:
            raise InputError(f"{key}: {path!r} names an environment variable that is not set")
        refuse_url(key, result)
        expanded.append(result)
    return expanded
