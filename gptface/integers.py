"""Whole numbers as people hand them in: Python's, NumPy's, a 0-d tensor's."""

from __future__ import annotations

import operator
from typing import Any

from gptface.errors import InputError

__all__ = ["whole_number"]


def whole_number(value: Any, name: str) -> int:
    """``value`` as Python's ``int``, which neither overflows nor wraps around as a fixed width does.

    Raises:
        InputError: it is none, such as 1.5; the sentence begins with ``name``.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name}: {value!r} is not a whole number") from None
