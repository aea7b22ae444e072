"""Shares of the training labels, and how often what is drawn is drawn anew: the same for every subject."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gptface.errors import InputError

__all__ = ["check_shares", "deviation", "face_subset", "share_words"]


def check_shares(shares: Sequence[float], seeds: int) -> None:
    """Refuse what is no share and no number of seeds.

    Raises:
        InputError: it says which.
    """
    if seeds < 1:
        raise InputError(f"seeds: got {seeds}; at least 1 is needed")
    wrong = [share for share in shares if not 0 < share <= 1]
    if wrong or not shares:
        raise InputError(f"shares: got {wrong[0] if wrong else 'none'}; each must be more than 0 and at most 1")


def face_subset(count: int, share: float, seed: int) -> np.ndarray:
    """Sorted rows of a random ``share`` of ``count`` faces, at least two; smaller shares lie within larger ones.

    For faces of many labels, of which no share of each class can be drawn.
    """
    rows = np.random.default_rng(seed).permutation(count)
    return np.sort(rows[: max(2, round(share * count))])


def deviation(values: Sequence[float]) -> float | None:
    """The standard deviation over several seeds; ``None`` of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def share_words(share: float) -> str:
    """What follows a row's name: nothing where all labels are used."""
    return "" if share == 1 else f", {100 * share:g} % of the labels"
