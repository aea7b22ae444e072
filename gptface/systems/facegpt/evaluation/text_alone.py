"""Faces from sentences alone: whether the shapes asked for are the strongest that come, and no opposites of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptface.morphable import FaceParameters, MorphableModel
from gptface.progress import Display
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.data.sentences import Sentences, opposite_shapes
from gptface.systems.facegpt.decoding import Emission
from gptface.systems.facegpt.evaluation import measures
from gptface.systems.facegpt.evaluation.answers import Speaker, answers, first_faces
from gptface.systems.facegpt.evaluation.methods import array_of, complete

__all__ = ["KINDS", "Sculpt", "Wish", "measure_sentences", "sentence_lines", "speaking", "wishes"]

Sculpt = Callable[[Sequence[Conversation]], tuple[FaceParameters, np.ndarray]]
"""From N conversations to N heads, and whether each came at all, bool ``(N,)``."""

EMITTED = 0.1
"""Weight from which a shape counts as emitted: below, it is hardly seen."""
STRONGEST = 3
KINDS = ("one movement", "several movements", "emotion", "several kinds", "traits", "at rest")


@dataclass(frozen=True)
class Wish:
    """A sentence and what it means.

    Attributes:
        conversation: the sentence as a question.
        kind: one of ``KINDS``.
        asked: expression shapes → weight.
        against: expression shapes that go against it.
        traits: trait → standard deviations.
    """

    conversation: Conversation
    kind: str
    asked: Mapping[str, float]
    against: frozenset[str]
    traits: Mapping[str, float]


def wishes(sentences: Sentences, count: int) -> list[Wish]:
    """The first ``count`` sentences of a collection, without two of the same words."""
    found: list[Wish] = []
    known: set[str] = set()
    for number in range(20 * count):
        if len(found) == count:
            break
        sentence = sentences.sentence(number)
        if sentence.text in known:
            continue
        known.add(sentence.text)
        kinds = [item.kind for item in sentence.items]
        if not sentence.shapes:
            kind = "traits" if sentence.attributes else "at rest"
        elif len(set(kinds)) > 1:
            kind = "several kinds"
        else:
            kind = "emotion" if kinds[0] == "emotion" else "several movements" if len(kinds) > 1 else "one movement"
        against = frozenset(opposite_shapes(sentence.items, sentences.names))
        found.append(Wish(sentences.conversation(number), kind, sentence.shapes, against, sentence.attributes))
    return found


def speaking(speaker: Speaker, *, forced: bool, name: str, display: Display | None = None) -> Sculpt:
    """A system that is asked: ``<FACE>`` left to it, or forced where its answer would end without."""

    def sculpt(conversations: Sequence[Conversation]) -> tuple[FaceParameters, np.ndarray]:
        emission: Emission = "forced" if forced else "free"
        said = answers(speaker, conversations, emission=emission, name=name, display=display)
        heads, emitted = first_faces(speaker, said)
        return complete(speaker.morphable, heads, len(conversations)), emitted

    return sculpt


def measure_sentences(
    model: MorphableModel, wished: Sequence[Wish], methods: Mapping[str, Sculpt], sentences: Sentences
) -> tuple[list[dict[str, Any]], dict[str, FaceParameters]]:
    """Rows by method and kind of sentence, and of all that ask for expression shapes.

    The left and the right of a shape count as one; the larger is its strength. An answer without a face has no shapes.

    Returns:
        rows of ``name``, ``kind``, ``n``, ``emitted`` (answers with a face), ``hit``: all shapes asked for (of more
        than three, three of them) are the three strongest or among them; ``opposite_absent``: no shape that goes
        against the sentence is emitted, where there is one; ``side``: of shapes asked for on one side, that side is the
        stronger; ``weight_error``: mean absolute error of the weights asked for; ``traits``: traits that come with
        the right sign; ``rest``: no shape is emitted where none is asked for. With 95 % intervals over sentences. And
        the heads of each method.
    """
    rows, found = [], {}
    for name, sculpt in methods.items():
        heads, emitted = sculpt([wish.conversation for wish in wished])
        found[name] = heads
        expression, identity = array_of(heads.expression), array_of(heads.identity)
        judged = [
            _judged(model, sentences, wish, expression[row], identity[row], bool(emitted[row]))
            for row, wish in enumerate(wished)
        ]
        groups = {kind: [row for row, wish in enumerate(wished) if wish.kind == kind] for kind in KINDS}
        groups["all with shapes"] = [row for row, wish in enumerate(wished) if wish.asked]
        for kind, members in groups.items():
            if not members:
                continue
            row: dict[str, Any] = {"name": name, "kind": kind, "n": len(members)}
            for measure in ("emitted", "hit", "opposite_absent", "side", "traits", "rest"):
                values = [value for member in members for value in judged[member].get(measure, [])]
                if values:
                    row[measure] = measures.share(np.array(values, dtype=bool))
            errors = [value for member in members for value in judged[member].get("weight_error", [])]
            if errors:
                row["weight_error"] = measures.mean(np.array(errors), np.arange(len(errors)))
            rows.append(row)
    return rows, found


def _sideless(name: str) -> str:
    return name[:-2] if name.endswith(("_L", "_R")) else name


def _judged(
    model: MorphableModel, sentences: Sentences, wish: Wish, weights: np.ndarray, identity: np.ndarray, emitted: bool
) -> dict[str, list[float]]:
    """Each measure's values for one sentence; a measure that does not apply has none."""
    found = dict(zip(model.expression_names, weights.tolist() if emitted else [0.0] * len(weights), strict=True))
    strength: dict[str, float] = {}
    for shape, weight in found.items():
        strength[_sideless(shape)] = max(strength.get(_sideless(shape), 0.0), weight)
    asked = {_sideless(shape) for shape in wish.asked}
    ordered = sorted(strength, key=lambda shape: -strength[shape])
    strongest = {shape for shape in ordered[:STRONGEST] if strength[shape] > 0}
    values: dict[str, list[float]] = {"emitted": [emitted]}
    if asked:
        values["hit"] = [len(asked & strongest) >= min(STRONGEST, len(asked))]
        values["weight_error"] = [float(np.mean([abs(found[shape] - weight) for shape, weight in wish.asked.items()]))]
        if wish.against:
            values["opposite_absent"] = [all(found[shape] < EMITTED for shape in wish.against)]
        sides = []
        for shape, weight in wish.asked.items():
            other = f"{_sideless(shape)}_{'R' if shape.endswith('_L') else 'L'}"
            if shape != _sideless(shape) and other in found and wish.asked.get(other, 0.0) < weight:
                sides.append(found[shape] > found[other])
        if sides:
            values["side"] = sides
    elif not wish.traits:
        values["rest"] = [emitted and all(weight < EMITTED for weight in found.values())]
    if wish.traits:
        directions = sentences.directions
        came = identity @ directions.directions[:, : len(identity)].double().numpy().T
        values["traits"] = [
            emitted and came[directions.names.index(trait)] * wanted > 0 for trait, wanted in wish.traits.items()
        ]
    return values


def sentence_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a row."""
    names = {
        "emitted": "<FACE>",
        "hit": "top 3",
        "opposite_absent": "no opposite",
        "side": "right side",
        "traits": "traits",
        "rest": "at rest",
    }
    lines = []
    for row in rows:
        told = [f"{word} {measures.told(row[key], 1, 100)} %" for key, word in names.items() if key in row]
        if "weight_error" in row:
            told.append(f"weights off by {measures.told(row['weight_error'])}")
        lines.append(f"{row['name']}, {row['kind']}: {', '.join(told)}; n {row['n']}")
    return lines
