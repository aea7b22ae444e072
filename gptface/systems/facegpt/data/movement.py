"""A movement of the face: the shapes that make it, and the words that say it and how far it goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

__all__ = ["DEGREES", "LEVELS", "Degrees", "Movement", "both", "usable_shapes", "uses"]

Degrees = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Words of degree: slot → degree → words."""

LEVELS: dict[str, float] = {"slight": 0.35, "": 0.7, "strong": 1.0}
"""How far a movement goes, by the degree its words give; the middle one has no word."""

DEGREES: Degrees = {
    "a": {"slight": ("slight", "faint", "subtle"), "strong": ("strong", "pronounced", "marked")},
    "p": {"slight": ("slightly", "somewhat"), "strong": ("strongly", "markedly", "clearly")},
    "d": {"slight": ("slightly", "a little", "a bit", "somewhat"), "strong": ("strongly", "markedly", "very much")},
    "v": {"slight": ("slightly", "a little", "a bit", "somewhat"), "strong": ("strongly", "a lot", "very much")},
}
DEGREES = {**DEGREES, "o": DEGREES["p"], "w": DEGREES["v"]}
"""Words of degree by slot: adjective of a noun, adverb in "an open mouth", adverb after "is", adverb at the end.

``o`` and ``w`` are as ``p`` and ``v``, for phrases that the words which a movement has for those do not fit.
"""


@dataclass(frozen=True)
class Movement:
    """One thing that a face does.

    Phrases may hold slots for a word of degree: ``{a}`` and ``{p}`` in ``nouns`` (an adjective, an adverb), ``{p}`` in
    ``adjectives``, ``{d}`` in ``states``, ``{v}`` at the end of ``verbs``; ``{o}`` and ``{w}``: see :data:`DEGREES`.

    Attributes:
        shapes: ways to make it, name → share of the movement's weight; a model's first possible one is taken.
        uses: muscles by name; movements that share one are never asked for together.
        nouns: what stands after "with": "a {a}smile".
        verbs: what the person does: "smiles{v}".
        states: clauses: "the mouth is {d}open".
        adjectives: what stands before "man": "{p}smiling".
        degrees: words that replace those of :data:`DEGREES`: slot → degree → words.
        opposites: movements that go the other way.
    """

    shapes: tuple[Mapping[str, float], ...]
    uses: frozenset[str]
    nouns: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    degrees: Degrees = field(default_factory=dict)
    opposites: tuple[str, ...] = ()


def usable_shapes(movement: Movement, names: Collection[str]) -> Mapping[str, float] | None:
    """The shapes that make a movement in a model of these shape names; ``None`` where it cannot be made."""
    return next((way for way in movement.shapes if all(shape in names for shape in way)), None)


# Words of degree that several movements share ------------------------------------------------------------------------

WIDE: Degrees = {
    "p": {"slight": ("slightly", "somewhat"), "strong": ("wide", "widely")},
    "o": {"slight": ("slightly", "somewhat"), "strong": ("widely", "very")},
    "d": {"slight": ("slightly", "a little", "a bit"), "strong": ("wide", "widely", "very")},
    "v": {"slight": ("slightly", "a little", "a bit"), "strong": ("wide", "very wide", "as far as possible")},
}
TIGHT: Degrees = {
    "p": {"slight": ("half", "partly"), "strong": ("tightly", "firmly", "completely")},
    "d": {"slight": ("half", "partly", "slightly"), "strong": ("tightly", "firmly", "completely")},
    "v": {"slight": ("halfway", "partly", "a little"), "strong": ("tightly", "firmly", "completely")},
}
HIGH: Degrees = {
    "p": {"slight": ("slightly", "somewhat"), "strong": ("highly", "strongly")},
    "v": {"slight": ("slightly", "a little", "a bit"), "strong": ("high", "a lot", "as far as possible")},
}
FAR: Degrees = {
    "a": {"slight": ("slight", "small"), "strong": ("strong", "marked")},
    "p": {"slight": ("slightly", "somewhat"), "strong": ("far", "strongly")},
    "d": {"slight": ("slightly", "a little", "a bit"), "strong": ("far", "strongly")},
    "v": {"slight": ("slightly", "a little", "a bit"), "strong": ("a lot", "very far", "as far as possible")},
}
BROAD: Degrees = {
    "a": {"slight": ("slight", "faint", "subtle", "little"), "strong": ("broad", "big", "wide", "huge")},
    "p": {"slight": ("slightly", "faintly", "gently"), "strong": ("broadly", "widely")},
    "v": {"slight": ("slightly", "a little", "faintly", "gently"), "strong": ("broadly", "a lot", "from ear to ear")},
}


def both(*names: str) -> dict[str, float]:
    """The shapes of both sides."""
    return {f"{name}_{side}": 1.0 for name in names for side in "LR"}


def uses(*muscles: str) -> frozenset[str]:
    """Both sides of ``"muscle"``, or one side of ``"muscle L"``."""
    one = [muscle for muscle in muscles if muscle[-2:] in (" L", " R")]
    return frozenset((*one, *(f"{muscle} {side}" for muscle in muscles if muscle not in one for side in "LR")))
