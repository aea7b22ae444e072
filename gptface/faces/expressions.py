"""Eight expressions of faces: Ekman's seven and the neutral face; where each is seen and how it is said.

All can be wished for by name. The procedural faces show seven, ``LABELLED_EXPRESSIONS``, so that only those can be
taught to a parser and asked of a judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptface.faces.areas import Area
from gptface.faces.names import find

__all__ = ["EXPRESSIONS", "LABELLED_EXPRESSIONS", "Expression", "expression_area"]

# What the face does is seen at brows, eyes and mouth. Renewing the cheeks and the chin between them as well gives an
# edit more room, and the judge more of what it looks for, but leaves little of the person.
_FEATURES = Area(("brows", "eyes", "mouth"), grow=0.08)


@dataclass(frozen=True)
class Expression:
    """One expression.

    Attributes:
        adjectives: of the person.
        nouns: what the face shows; they fit after "a person with".
        area: where it is seen.
    """

    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    area: Area = _FEATURES


EXPRESSIONS: dict[str, Expression] = {
    "neutral": Expression(("calm", "neutral"), ("a neutral expression", "a calm face")),
    "happiness": Expression(("smiling", "happy"), ("a smile", "a happy smile", "a big smile")),
    "sadness": Expression(("sad", "unhappy"), ("a sad expression", "a sad look")),
    "anger": Expression(("angry", "furious"), ("an angry expression", "an angry look")),
    "surprise": Expression(("surprised", "astonished"), ("a surprised expression", "a look of surprise")),
    "fear": Expression(("scared", "frightened"), ("a scared expression", "a look of fear")),
    "disgust": Expression(("disgusted",), ("a disgusted expression", "a look of disgust")),
    "contempt": Expression(("contemptuous", "scornful"), ("a contemptuous expression", "a look of contempt")),
}
"""All eight by name."""

LABELLED_EXPRESSIONS: tuple[str, ...] = tuple(name for name in EXPRESSIONS if name != "contempt")
"""Those that the procedural faces show, in the order of labels and of a parser's outputs."""


def expression_area(name: str) -> Area:
    """Where an expression is seen; raises ``InputError`` for an unknown one, naming the nearest."""
    return find("expression", name, EXPRESSIONS).area
