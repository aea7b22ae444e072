"""When ``<FACE>`` is said: asked for and not, left to the model; and what faces cost in general conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptface.errors import InputError
from gptface.progress import Display
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.evaluation import measures
from gptface.systems.facegpt.evaluation.answers import Speaker, answers, spoken_losses

__all__ = ["compare_general_losses", "emission_lines", "general_lines", "measure_emission"]

SHOWN = 4
"""Answers kept as examples of each kind."""


def measure_emission(
    name: str,
    speaker: Speaker,
    conversations: Sequence[Conversation],
    pictures: np.ndarray | None,
    display: Display | None = None,
) -> list[dict[str, Any]]:
    """Rows by the kind of conversation: how often a free answer holds ``<FACE>``, and how often it was to.

    Args:
        name: of the rows.
        speaker: who is asked.
        conversations: held-out ones; whether a face was wanted is what their own answers say.
        pictures: uint8 ``(P, s, s, 3)``, of those that have one.

    Returns:
        rows of ``name``, ``kind``, ``wanted`` (whether such conversations are to have a face), ``emitted`` (share of
        answers that have one, with Wilson's 95 % interval), ``once`` (share that have no more than one), ``ended``
        (share that the model ended by itself), and ``examples``: questions with their answers.
    """
    said = answers(speaker, conversations, pictures, name=f"{name}, answers", display=display)
    rows: list[dict[str, Any]] = []
    kinds = sorted({(one.face, one.kind) for one in conversations}, reverse=True)
    groups = [
        (wanted, kind, [i for i, one in enumerate(conversations) if (one.face, one.kind) == (wanted, kind)])
        for wanted, kind in kinds
    ]
    for wanted in (True, False):
        members = [i for i, one in enumerate(conversations) if one.face == wanted]
        if members:
            groups.append((wanted, "all", members))
    for wanted, kind, members in groups:
        counts = np.array([len(said[i].numbers) for i in members])
        rows.append(
            {
                "name": name,
                "kind": kind,
                "wanted": wanted,
                "emitted": measures.share(counts > 0),
                "once": measures.share(counts <= 1),
                "ended": measures.share(np.array([said[i].ended for i in members])),
                "examples": [
                    {"question": conversations[i].turns[0].text, "answer": said[i].text} for i in members[:SHOWN]
                ],
            }
        )
    return rows


def emission_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a row."""
    return [
        f"{row['name']}, {row['kind']}, a face {'wanted' if row['wanted'] else 'not wanted'}: <FACE> in "
        f"{measures.told(row['emitted'], 1, 100)} %, at most once in {measures.told(row['once'], 1, 100)} %, "
        f"ended {measures.told(row['ended'], 1, 100)} %; n {row['emitted']['n']}"
        for row in rows
    ]


def compare_general_losses(
    speakers: Mapping[str, Speaker], without_faces: Speaker, conversations: Sequence[Conversation]
) -> list[dict[str, Any]]:
    """Held-out loss of general conversations, beside the same model trained without faces.

    Returns:
        rows of ``name``, ``loss`` (nats a token), ``loss_without_faces``, and ``ratio`` of both, with 95 % intervals
        over conversations drawn anew.

    Raises:
        InputError: no conversation, or tokenizers that divide the texts differently: losses a token would not compare.
    """
    if not conversations:
        raise InputError("general conversations: there is none to measure on")
    base, base_counts = spoken_losses(without_faces, conversations)
    groups = np.arange(len(conversations))

    def rate(sums: np.ndarray, counts: np.ndarray) -> measures.Measure:
        return measures.measured(lambda rows: float(sums[rows].sum() / counts[rows].sum()), groups)

    rows = []
    for name, speaker in speakers.items():
        sums, counts = spoken_losses(speaker, conversations)
        if not np.array_equal(counts, base_counts):
            raise InputError(
                f"{name}: its text tokenizer divides the conversations into other tokens than that of the model "
                "without faces; give both one tokenizer (facegpt.text_tokenizer)"
            )
        rows.append(
            {
                "name": name,
                "n": len(conversations),
                "tokens": int(counts.sum()),
                "loss": rate(sums, counts),
                "loss_without_faces": rate(base, counts),
                "ratio": measures.ratio(sums, base, groups),
            }
        )
    return rows


def general_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a row."""
    return [
        f"{row['name']}: general conversations {measures.told(row['loss'], 3)} nats a token, without faces "
        f"{measures.told(row['loss_without_faces'], 3)}, ratio {measures.told(row['ratio'], 3)}; n {row['n']}"
        for row in rows
    ]
