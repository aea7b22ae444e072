"""Held-out parts of a labelled training set: what chooses between penalties, passes and representations."""

from __future__ import annotations

import numpy as np

from gptface.errors import InputError

__all__ = ["selection_splits"]

# With fewer labels a single held-out part is too small to choose by, and so many fits are cheap.
ENOUGH_FOR_ONE_SPLIT = 1500
FOLDS = 5


def selection_splits(
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    share: float = 0.15,
    seed: int = 0,
    enough: int = ENOUGH_FOR_ONE_SPLIT,
) -> list[np.ndarray]:
    """Which rows are held out, to choose by.

    A large set is split once. Of a small one, each of five parts is held out in turn. A part without which a class
    would be missing from the rest is left out.

    Args:
        labels: ``(N,)`` integers.
        groups: ``(N,)`` identities; rows of one identity are never on both sides of a split.
        share: share of the groups (or rows) that is held out where there is one split.
        seed: of the splits.
        enough: rows from which on one split is made.

    Returns:
        bool ``(N,)`` masks, at least one, true where a row is held out.

    Raises:
        InputError: nothing can be held out without losing a class.
    """
    units = np.arange(len(labels)) if groups is None else np.asarray(groups)
    names = np.random.default_rng(seed).permutation(np.unique(units))
    if len(labels) >= enough:
        parts = [names[: max(1, round(share * len(names)))]]
    else:
        parts = [names[fold::FOLDS] for fold in range(min(FOLDS, len(names)))]
    splits = [np.isin(units, part) for part in parts]
    classes = len(np.unique(labels))
    usable = [held_out for held_out in splits if len(np.unique(labels[~held_out])) == classes]
    if not usable:
        raise InputError(
            f"{len(labels)} training faces of {len(names)} people: whoever is held out to choose by, a class is "
            "missing from the rest; more faces or people of each class are needed"
        )
    return usable
