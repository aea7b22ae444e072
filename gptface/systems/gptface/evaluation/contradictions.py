"""Captions that contradict: does matching tell a face's own caption from one that says another expression?

Faces of a data set come with the label of an expression, and some captions say it and some say nothing of it. Which do
is read off the set itself: a caption says an expression where it stands beside several faces, nearly all of which have
that label. A face whose caption says its expression is scored with that caption and with one that says another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gptface.evaluation.face_set import FaceSet
from gptface.evaluation.metrics import accuracy_interval
from gptface.systems.gptface import FaceSystem
from gptface.systems.gptface.evaluation.matching import hide_half, match_log_odds

__all__ = ["ContradictingPairs", "contradicting_pairs", "measure_contradictions"]

SAYS = 0.9  # of the faces beside a caption, the share that must have one expression for the caption to say it
LEAST = 2  # faces beside it


@dataclass(frozen=True)
class ContradictingPairs:
    """Faces whose captions say their expression, each with a caption that says another.

    Attributes:
        rows: int64 ``(M,)``, the faces.
        others: int64 ``(M,)``, faces whose captions contradict those of ``rows``.
        captions: how many different captions say an expression.
    """

    rows: np.ndarray
    others: np.ndarray
    captions: int


def contradicting_pairs(
    captions: Sequence[str], expressions: Sequence[str | None], *, seed: int = 0
) -> ContradictingPairs:
    """The pairs of a data set; empty where no caption says an expression, or all that do say the same one.

    Args:
        captions: one a face.
        expressions: their labels, ``None`` where unknown.
        seed: of the draw of the other captions, each face's alike likely.
    """
    beside: dict[str, Counter[str]] = defaultdict(Counter)
    for caption, expression in zip(captions, expressions, strict=True):
        if caption and expression is not None:
            beside[caption][expression] += 1
    said = {}
    for caption, counts in beside.items():
        expression, most = counts.most_common(1)[0]
        if counts.total() >= LEAST and most >= SAYS * counts.total():
            said[caption] = expression
    speaking = [
        (row, said[caption], expression)
        for row, (caption, expression) in enumerate(zip(captions, expressions, strict=True))
        if expression is not None and caption in said
    ]
    saying = {name: np.array([row for row, says, _ in speaking if says != name]) for _, name, _ in speaking}
    random = np.random.default_rng(seed)
    pairs = [
        (row, int(random.choice(saying[expression])))
        for row, says, expression in speaking
        if says == expression and len(saying[expression])
    ]
    rows, others = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return ContradictingPairs(rows, others, len(said))


def measure_contradictions(
    system: FaceSystem,
    faces: FaceSet,
    codes: Tensor,
    text_ids: Tensor,
    text_lengths: Tensor,
    *,
    group: str | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Matching against captions that contradict; nothing where the faces have no such captions.

    Args:
        codes, text_ids, text_lengths: of the faces, as :func:`~.matching.measure_matching` takes them.
        group: metadata field of the person, whom intervals draw anew; by default each face counts on its own.

    Returns:
        ``pairs``: faces that were asked about; ``accuracy``: of the two-way decision over own and contradicting
        captions, ``accuracy_half_masked``: with half of the image tokens hidden; ``ranking``: share of faces whose own
        caption scores above the other; each with ``…_low`` and ``…_high``, its 95 % interval; and
        ``accuracy_without_looking``: the best that the captions alone allow, since those of rare expressions are more
        often wrong than right.
    """
    expressions = [sample.metadata.get("expression") for sample in faces.samples]
    known = [None if name is None else str(name) for name in expressions]
    pairs = contradicting_pairs(faces.captions, known, seed=seed)
    if not len(pairs.rows):
        return {}
    rows, others = torch.from_numpy(pairs.rows), torch.from_numpy(pairs.others)
    people = None
    if group is not None:
        people = np.array([str(faces.samples[row].metadata.get(group, f"face {row}")) for row in pairs.rows.tolist()])
    model, own = system.model, codes[rows]
    found: dict[str, float] = {"pairs": float(len(rows))}

    def tell(name: str, values: np.ndarray) -> None:
        found[name] = float(values.mean())
        found[f"{name}_low"], found[f"{name}_high"] = accuracy_interval(values, people)

    for name, images in (("accuracy", own), ("accuracy_half_masked", hide_half(model, own, seed=seed))):
        right, wrong = (
            match_log_odds(model, images, text_ids[chosen], text_lengths[chosen]).numpy() for chosen in (rows, others)
        )
        tell(name, ((right > 0).astype(float) + (wrong <= 0)) / 2)
        if name == "accuracy":
            tell("ranking", (right > wrong).astype(float))
    found["accuracy_without_looking"] = _without_looking(
        [faces.captions[row] for row in pairs.rows], [faces.captions[row] for row in pairs.others]
    )
    return found


def _without_looking(own: Sequence[str], others: Sequence[str]) -> float:
    """Accuracy of the best answer to each caption, whatever the picture."""
    right, wrong = Counter(own), Counter(others)
    return sum(max(right[caption], wrong[caption]) for caption in right.keys() | wrong.keys()) / (2 * len(own))
