"""Phrases for movements, emotions and traits at a degree, and the small grammar that joins them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gptface.data.procedural.randomness import Draws
from gptface.systems.facegpt.data.emotions import EMOTIONS, is_attributive
from gptface.systems.facegpt.data.movement import DEGREES, Movement
from gptface.systems.facegpt.data.movements import MOVEMENTS
from gptface.systems.facegpt.data.traits import TRAITS

__all__ = ["Item", "Phrases", "gerund", "joined", "phrases", "polished", "possessed", "with_article"]


@dataclass(frozen=True)
class Item:
    """One thing that is said of a face.

    Attributes:
        kind: ``"movement"``, ``"emotion"`` or ``"trait"``.
        name: in :data:`MOVEMENTS`, :data:`EMOTIONS` or :data:`TRAITS`.
        level: ``"slight"``, ``""`` or ``"strong"``.
        less: a trait's negative side.
    """

    kind: str
    name: str
    level: str = ""
    less: bool = False

    @property
    def key(self) -> str:
        """What is said, whatever the degree: for splits by combination."""
        return f"{self.kind} {self.name}{' less' if self.less else ''}"


@dataclass(frozen=True)
class Phrases:
    """One choice of words for an item; ``""`` where it has no such form.

    Attributes:
        noun: after "with".
        verb: after "who" or "he".
        state: a clause of its own.
        adjective: before a noun.
        complement: after "is" or "looks"; begins with that verb.
    """

    noun: str = ""
    verb: str = ""
    state: str = ""
    adjective: str = ""
    complement: str = ""


def _fill(draws: Draws, name: str, phrase: str, movement: Movement | None, level: str) -> str:
    """A phrase with a word of degree in its slot."""
    found = re.search(r"\{([apdvow])\}", phrase)
    if found is None:
        return phrase
    slot = found[1]
    words = DEGREES[slot] if movement is None else {**DEGREES[slot], **movement.degrees.get(slot, {})}
    word = draws.choice(f"{name}.{slot}", words[level]) if level else ""
    if word:
        word = f" {word}" if slot in "vw" else f"{word} "
    return phrase.replace(found[0], word)


def phrases(draws: Draws, item: Item) -> Phrases:
    """Words for an item, chosen by ``draws`` under the item's own name."""
    key = item.key

    def pick(form: str, options: Sequence[str]) -> str:
        return draws.choice(f"{key}.{form}", options) if options else ""

    if item.kind == "emotion":
        emotion = EMOTIONS[item.name]
        adjective = pick("adjective", emotion.adjectives[item.level])
        verb = "is" if emotion.doing else draws.choice(f"{key}.copula", ("looks", "is", "looks", "seems"))
        complement = f"{verb} {adjective}"
        noun = polished(pick("noun", emotion.nouns[item.level]))
        return Phrases(noun, complement, "", adjective if is_attributive(adjective) else "", complement)
    if item.kind == "trait":
        trait = TRAITS[item.name]
        adjective = pick("adjective", trait.less if item.less else trait.more)
        much = {
            "slight": ("slightly ", "somewhat ", "rather "),
            "": ("",),
            "strong": ("very ", "extremely ", "remarkably "),
        }[item.level]
        adjective = draws.choice(f"{key}.much", much) + adjective
        noun = f"{adjective} {trait.part}" if trait.plural else with_article(f"{adjective} {trait.part}")
        state = f"the {trait.part} {'are' if trait.plural else 'is'} {adjective}"
        return Phrases(noun, f"has {noun}", state)
    movement = MOVEMENTS[item.name]
    filled = {
        form: polished(_fill(draws, f"{key}.{form}", pick(form, getattr(movement, form)), movement, item.level))
        for form in ("nouns", "verbs", "states", "adjectives")
    }
    return Phrases(filled["nouns"], filled["verbs"], filled["states"], filled["adjectives"])


def with_article(phrase: str) -> str:
    """ "an old man" of "old man"."""
    return polished(f"a {phrase}")


def polished(phrase: str) -> str:
    """A phrase with "an" where a vowel follows, and single spaces."""
    phrase = " ".join(phrase.split())
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU](?!ne\b|ne-|niform))", r"\1n ", phrase)


def joined(parts: Sequence[str], last: str = " and ") -> str:
    """ "a, b and c"."""
    parts = [part for part in parts if part]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + last + parts[-1]


_IRREGULAR = {"is": "being", "has": "having", "lies": "lying"}
_DOUBLED = ("knit", "jut")


def gerund(verb: str) -> str:
    """ "opening the mouth" of "opens the mouth"."""
    first, _, rest = verb.partition(" ")
    if first in _IRREGULAR:
        first = _IRREGULAR[first]
    else:
        stem = re.sub(r"es$", "", first) if re.search(r"(ss|x|zz|ch|sh)es$", first) else first[:-1]
        if stem in _DOUBLED:
            stem += stem[-1]
        elif stem.endswith("e") and not stem.endswith("ee"):
            stem = stem[:-1]
        first = f"{stem}ing"
    return f"{first} {rest}".strip()


def possessed(state: str) -> str | None:
    """ "mouth is open", to follow "whose", of "the mouth is open"; ``None`` where it cannot follow."""
    return state[4:] if state.startswith("the ") else None
