"""``NAME=WEIGHT`` words, as commands and configuration files give them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gptface.errors import InputError

__all__ = ["named_weights"]


def named_weights(what: str, words: Sequence[str]) -> dict[str, float]:
    """Name → weight of words such as ``jawOpen=0.5``.

    Args:
        what: what the error calls them: an option.
        words: as somebody gave them.

    Raises:
        InputError: a word without ``=``, a weight that is no finite number, a name given twice.
    """
    weights: dict[str, float] = {}
    for word in words:
        name, sign, value = word.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not sign or not name or not math.isfinite(number):
            raise InputError(f"{what} {word!r} is no NAME=WEIGHT with a finite number, such as jawOpen=0.5")
        if name in weights:
            raise InputError(f"{what} gives {name} twice; once is allowed")
        weights[name] = number
    return weights
