"""Are captions true? What the captions of held-out faces state, beside what the faces are labelled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptface.data.sample import Sample
from gptface.errors import InputError
from gptface.evaluation.metrics import wilson_interval
from gptface.faces.expressions import EXPRESSIONS
from gptface.faces.statements import statements

__all__ = ["FACTS", "FactCount", "count_facts"]

FACTS: Mapping[str, tuple[str, ...]] = {
    "colour of hair": ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair"),
    "baldness": ("Bald",),
    "glasses": ("Eyeglasses",),
    "hat": ("Wearing_Hat",),
    "beard": ("No_Beard", "Goatee", "Mustache"),
    "expression": (),
}
"""What is looked for in a caption, and the attributes that it is stated by."""


@dataclass(frozen=True)
class FactCount:
    """Of one kind of fact.

    Attributes:
        right: how many statements agree with the label.
        stated: how many there are.
    """

    right: int
    stated: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share, as if all statements were independent; a face's are not quite."""
        return wilson_interval(self.right, self.stated)


def count_facts(captions: Sequence[str], faces: Sequence[Sample]) -> dict[str, FactCount]:
    """How many of the facts that captions state are true, by kind and in all (``"all"``).

    A caption may be silent, which counts neither way: what is asked is whether its words can be believed. What a face's
    metadata do not label, label in words that :mod:`gptface.faces` has not, or say to be hidden, is not counted either.

    Args:
        captions: one a face.
        faces: with ``attributes`` and ``expression`` in their metadata, as procedural faces have them.

    Raises:
        InputError: no face has any label of :data:`FACTS`.
    """
    looked_for = {name for names in FACTS.values() for name in names}
    if not any(
        looked_for & set(face.metadata.get("attributes") or ()) or face.metadata.get("expression") in EXPRESSIONS
        for face in faces
    ):
        raise InputError(
            f"faces: none has a label that captions are checked by in its metadata: an expression of "
            f"{', '.join(EXPRESSIONS)}, or of the attributes {', '.join(sorted(looked_for))}"
        )
    right, stated = dict.fromkeys(FACTS, 0), dict.fromkeys(FACTS, 0)
    for caption, face in zip(captions, faces, strict=True):
        said = statements(caption)
        hidden = face.metadata.get("hidden_attributes") or ()
        labels = {name: bool(value) for name, value in (face.metadata.get("attributes") or {}).items()}
        for kind, names in FACTS.items():
            for name in names:
                if name in said.attributes and name in labels and name not in hidden:
                    stated[kind] += 1
                    right[kind] += said.attributes[name] == labels[name]
        expression = face.metadata.get("expression")
        if expression in EXPRESSIONS and said.expression is not None:
            stated["expression"] += 1
            right["expression"] += said.expression == expression
    counts = {kind: FactCount(right[kind], stated[kind]) for kind in FACTS}
    return {**counts, "all": FactCount(sum(right.values()), sum(stated.values()))}
