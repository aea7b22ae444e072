"""Two portraits of each person, at rest and smiling, cut by one window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.evaluation.landmark_faces import read_portraits

__all__ = ["AT_REST", "SMILING", "PortraitPairs", "read_pairs"]

FIELD, PERSON = "expression", "person"
AT_REST, SMILING = "neutral", "happiness"


@dataclass(frozen=True)
class PortraitPairs:
    """Two portraits of each person, cut alike.

    Attributes:
        at_rest, smiling: uint8 ``(N, S, S, 3)``.
        people: names.
    """

    at_rest: np.ndarray
    smiling: np.ndarray
    people: tuple[str, ...]


def read_pairs(
    paths: Sequence[str], size: int, *, landmarks: str | None = None, like: np.ndarray | None = None
) -> PortraitPairs:
    """The people of ``paths`` (shards, globs, directories) who have both portraits; one window is cut from all.

    Args:
        size: side of the result in pixels.
        landmarks: .npz of ``key`` and ``points``, of which 0 and 1 are the pupils; with ``like``.
        like: float ``(M, P, 2)``, landmarks in shares of photos: the window puts the mean pupils where their mean eyes
            are, see :func:`read_portraits`. Without both, the centred square is taken whole.

    Raises:
        InputError: fewer than two people with both portraits.
    """
    window = None
    if landmarks is not None and like is not None:
        window = read_portraits(paths, landmarks, like, size).window
    found: dict[tuple[str, str], np.ndarray] = {}
    for item in FaceShards(list(paths), None if window else size):
        if not isinstance(item, Sample) or PERSON not in item.metadata:
            continue
        picture = item.image
        if window is not None:
            left, top, side = window
            cut = Image.fromarray(picture).crop((left, top, left + side, top + side))
            picture = np.array(cut.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))
        found.setdefault((str(item.metadata[PERSON]), str(item.metadata.get(FIELD))), picture)
    people = sorted({person for person, _ in found if all((person, own) in found for own in (AT_REST, SMILING))})
    if len(people) < 2:
        raise InputError(
            f"portraits: {len(people)} people have portraits of both {FIELD} {AT_REST} and {SMILING}; "
            "at least 2 are needed"
        )
    at_rest, smiling = (np.stack([found[person, own] for person in people]) for own in (AT_REST, SMILING))
    return PortraitPairs(at_rest, smiling, tuple(people))
