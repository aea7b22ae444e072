"""Descriptions of faces in words with the named shapes that they mean, as many as numbers.

A sentence says one to four things: movements, an emotion, traits of the head, each slight, plain or strong. What is to
be said is planned first (:meth:`Sentences.plan`) and then put into one of the templates below; both by number alone.

Held out are some templates and a sixth of all combinations (whatever their degrees and words): a held-out sentence of
one thing has a held-out template; one of several things has a held-out combination, in any template.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gptface.data.procedural.randomness import Draws
from gptface.errors import InputError
from gptface.morphable import MorphableModel
from gptface.systems.facegpt.data.conversations import Conversation, capitalised, sculpture
from gptface.systems.facegpt.data.emotions import EMOTIONS, emotion_shapes
from gptface.systems.facegpt.data.movement import LEVELS, usable_shapes
from gptface.systems.facegpt.data.movements import MOVEMENTS
from gptface.systems.facegpt.data.traits import TRAIT_LEVELS, TRAITS, TraitDirections
from gptface.systems.facegpt.data.wording import Item, Phrases, gerund, joined, phrases, polished, possessed

__all__ = [
    "HELD_OUT_TEMPLATES",
    "TEMPLATES",
    "Sentence",
    "Sentences",
    "held_out_combination",
    "names_movements",
    "opposite_shapes",
]

_HELD_OUT_SHARE = 6


@dataclass(frozen=True)
class Sentence:
    """A description.

    Attributes:
        text: a noun phrase ("a sad man with a wide nose"), or sentences that end with a full stop.
        shapes: expression shapes, name → weight, 0 to 1; all others are 0.
        attributes: traits, name → standard deviations; all others are average.
        items: what is said.
        template: which of :data:`TEMPLATES`.
    """

    text: str
    shapes: Mapping[str, float]
    attributes: Mapping[str, float]
    items: tuple[Item, ...]
    template: str


def held_out_combination(items: Collection[Item]) -> bool:
    """Whether several things together are kept from training; degrees do not matter."""
    keys = sorted(item.key for item in items)
    return len(keys) > 1 and zlib.crc32("|".join(keys).encode()) % _HELD_OUT_SHARE == 0


def names_movements(model: MorphableModel) -> bool:
    """Whether a model has expression shapes that words are known for."""
    names = model.expression_names
    return model.expression_kind == "blendshape" and any(usable_shapes(way, names) for way in MOVEMENTS.values())


def opposite_shapes(items: Sequence[Item], names: Collection[str]) -> set[str]:
    """Expression shapes that go against what is said: a sentence that asks for a smile must not give a frown.

    Shapes that another thing said needs are left out.
    """
    against: set[str] = set()
    wanted: set[str] = set()
    for item in items:
        if item.kind == "emotion":
            wanted |= set(emotion_shapes(EMOTIONS[item.name], names))
        elif item.kind == "movement":
            wanted |= set(usable_shapes(MOVEMENTS[item.name], names) or ())
            for opposite in MOVEMENTS[item.name].opposites:
                against |= set(usable_shapes(MOVEMENTS[opposite], names) or ())
    for name, movement in MOVEMENTS.items():  # an emotion goes against what its main movements go against
        shapes = set(usable_shapes(movement, names) or ())
        if shapes and shapes <= wanted and " on the " not in name:
            for opposite in movement.opposites:
                if " on the " not in opposite:
                    against |= set(usable_shapes(MOVEMENTS[opposite], names) or ())
    return against - wanted


# Templates -----------------------------------------------------------------------------------------------------------

_NOUNS = ("man", "woman", "person", "man", "woman", "boy", "girl", "young man", "young woman", "old man", "old woman")
_PORTRAITS = ("a portrait", "a picture", "the face", "the head", "a bust", "a close-up")


def _pronoun(noun: str) -> str:
    if noun == "person":
        return "this person"
    return "she" if noun.rpartition(" ")[2] in ("woman", "girl") else "he"


@dataclass(frozen=True)
class _Plan:
    """What a template is given: the noun, and words for each thing in turn."""

    draws: Draws
    noun: str
    words: tuple[Phrases, ...]

    def split(self, *, adjectives: int = 1) -> tuple[str, list[Phrases]]:
        """ "a sad man" with what is left to say, or "a man" and everything."""
        taken: list[str] = []
        rest: list[Phrases] = []
        for word in self.words:
            if word.adjective and len(taken) < adjectives:
                taken.append(word.adjective)
            else:
                rest.append(word)
        return polished(" ".join(("a", ", ".join(taken), self.noun))), rest

    @property
    def plain(self) -> str:
        return polished(f"a {self.noun}")


def _does(parts: Sequence[Phrases]) -> str:
    """ "smiles and has a long face and full lips": what somebody does, then what somebody has."""
    had = [word.noun for word in parts if word.verb.startswith("has ")]
    done = [word.verb for word in parts if not word.verb.startswith("has ")]
    return joined([*done, f"has {joined(had)}"] if had else done)


def _who(parts: Sequence[Phrases]) -> str:
    return " who " + _does(parts) if parts else ""


def _with(parts: Sequence[Phrases]) -> str:
    return " with " + joined([word.noun for word in parts]) if parts else ""


def _adjective_with(plan: _Plan) -> str:
    subject, rest = plan.split()
    return subject + _with(rest)


def _noun_with(plan: _Plan) -> str:
    return plan.plain + _with(plan.words)


def _noun_who(plan: _Plan) -> str:
    return plan.plain + _who(plan.words)


def _adjective_who(plan: _Plan) -> str | None:
    subject, rest = plan.split()
    return subject + _who(rest) if 0 < len(rest) < len(plan.words) else None


def _who_with(plan: _Plan) -> str | None:
    return f"{plan.plain}{_who(plan.words[:1])},{_with(plan.words[1:])}" if len(plan.words) > 1 else None


def _with_who(plan: _Plan) -> str | None:
    return f"{plan.plain}{_with(plan.words[:1])}{_who(plan.words[1:])}" if len(plan.words) > 1 else None


def _states(plan: _Plan) -> str | None:
    he = _pronoun(plan.noun)
    clauses = [word.state or (f"{he} {word.complement}" if word.complement else "") for word in plan.words]
    if not all(clauses):
        return None
    if plan.draws.chance("one sentence", 0.4):
        return capitalised(joined(clauses)) + "."
    return " ".join(capitalised(clause) + "." for clause in clauses)


def _he_does(plan: _Plan) -> str:
    return capitalised(f"{_pronoun(plan.noun)} {_does(plan.words)}.")


def _the_noun_does(plan: _Plan) -> str:
    return f"The {plan.noun} {_does(plan.words)}."


def _whose(plan: _Plan) -> str | None:
    clauses = [possessed(word.state) for word in plan.words if word.state]
    rest = [word for word in plan.words if not word.state]
    if not clauses or None in clauses or len(rest) > 1:
        return None
    subject = polished(f"a {rest[0].adjective} {plan.noun}") if rest else plan.plain
    if rest and not rest[0].adjective:
        return None
    return f"{subject} " + joined([f"whose {clause}" for clause in clauses])


def _portrait(plan: _Plan) -> str:
    subject, rest = plan.split()
    return f"{plan.draws.choice('portrait', _PORTRAITS)} of {subject}{_with(rest)}"


def _portrait_who(plan: _Plan) -> str:
    return f"{plan.draws.choice('portrait', _PORTRAITS)} of {plan.plain}{_who(plan.words)}"


def _telegram(plan: _Plan) -> str:
    return ", ".join([plan.draws.choice("telegram", ("portrait", plan.noun, "a face", plan.plain)), *_nouns(plan)])


def _nouns(plan: _Plan) -> list[str]:
    return [word.noun for word in plan.words]


def _only_nouns(plan: _Plan) -> str:
    return joined(_nouns(plan))


def _face_with(plan: _Plan) -> str:
    return plan.draws.choice("thing", ("a face", "a head", "someone", "somebody", "a person")) + _with(plan.words)


def _face_in_which(plan: _Plan) -> str | None:
    states = [word.state for word in plan.words]
    if not all(states):
        return None
    return plan.draws.choice("thing", ("a face in which ", "a face where ", "a head where ")) + joined(states)


def _doing(plan: _Plan) -> str | None:
    if any(word.complement or word.verb.startswith("has ") for word in plan.words):
        return None
    return f"{plan.plain} {joined([gerund(word.verb) for word in plan.words])}"


def _someone_while(plan: _Plan) -> str | None:
    if len(plan.words) < 2:
        return None
    first, *rest = plan.words
    return f"{plan.plain} who {first.verb} while {_pronoun(plan.noun)} {_does(rest)}"


def _on_the_face(plan: _Plan) -> str | None:
    if any(re.search(r"\bface\b", noun) for noun in _nouns(plan)):
        return None
    return f"{joined(_nouns(plan))} on the face of {plan.plain}"


def _showing(plan: _Plan) -> str:
    return f"{plan.plain} {plan.draws.choice('showing', ('showing', 'displaying', 'that has'))} {joined(_nouns(plan))}"


def _he_has(plan: _Plan) -> str:
    verb = plan.draws.choice("verb", ("has", "shows", "has got"))
    return capitalised(f"{_pronoun(plan.noun)} {verb} {joined(_nouns(plan))}.")


def _two_sentences(plan: _Plan) -> str:
    first, *rest = plan.words
    text = f"This is {plan.plain}{_with([first])}."
    return text + (f" {capitalised(_pronoun(plan.noun))} {_does(rest)}." if rest else "")


def _imagine(plan: _Plan) -> str:
    start = plan.draws.choice("imagine", ("Imagine", "Think of", "Picture", "I see", "There is"))
    subject, rest = plan.split()
    return f"{start} {subject}{_who(rest)}."


TEMPLATES: dict[str, Callable[[_Plan], str | None]] = {
    "adjective with": _adjective_with,
    "noun with": _noun_with,
    "noun who": _noun_who,
    "adjective who": _adjective_who,
    "who, with": _who_with,
    "with, who": _with_who,
    "states": _states,
    "he does": _he_does,
    "the noun does": _the_noun_does,
    "whose": _whose,
    "portrait": _portrait,
    "portrait who": _portrait_who,
    "telegram": _telegram,
    "only nouns": _only_nouns,
    "face with": _face_with,
    "face in which": _face_in_which,
    "doing": _doing,
    "who, while": _someone_while,
    "on the face": _on_the_face,
    "showing": _showing,
    "he has": _he_has,
    "two sentences": _two_sentences,
    "imagine": _imagine,
}
"""Ways to say things, by name; one that cannot say what is asked gives ``None``."""

HELD_OUT_TEMPLATES = ("adjective who", "portrait who", "face in which", "showing", "two sentences", "who, while")
"""Templates that training never sees."""


# Plans ---------------------------------------------------------------------------------------------------------------


class Sentences:
    """Sentences about the shapes of one model, as many as there are numbers, each the same for one (seed, number).

    Args:
        model: whose shapes are meant. Movements and emotions need blendshapes that bear ARKit's names.
        seed: of the collection.
        held_out: only what training never sees (see above), or never that.
        traits: whether traits of the head are spoken of.

    Raises:
        InputError: nothing of the model has a name.
    """

    def __init__(self, model: MorphableModel, seed: int = 0, *, held_out: bool = False, traits: bool = True) -> None:
        blendshapes = model.expression_kind == "blendshape"
        self.names = frozenset(model.expression_names) if blendshapes else frozenset[str]()
        self.seed, self.held_out = seed, held_out
        usable = {name: usable_shapes(movement, self.names) for name, movement in MOVEMENTS.items()}
        self.movements = {name: shapes for name, shapes in usable.items() if shapes}
        self.emotions = [name for name, emotion in EMOTIONS.items() if emotion_shapes(emotion, self.names)]
        if self.emotions:
            self.emotions.append("neutral")
        self.directions = TraitDirections(model)
        self.traits = self.directions.names if traits else ()
        if not self.movements and not self.traits:
            raise InputError(f"{model.name}: no shape of it has a name that words are known for")
        self._muscles = {name: self._muscles_of_emotion(name) for name in self.emotions}

    def _muscles_of_emotion(self, name: str) -> frozenset[str]:
        shapes = emotion_shapes(EMOTIONS[name], self.names)
        return frozenset(
            muscle
            for movement, needed in self.movements.items()
            if any(shape in shapes for shape in needed)
            for muscle in MOVEMENTS[movement].uses
        )

    def plan(self, draws: Draws) -> tuple[Item, ...]:
        """What to say: one to four things that go together."""
        kinds = {"one": 5, "movements": 6, "emotion": 5, "emotion and movement": 2, "trait": 3, "mixed": 5, "mood": 3}
        kind = draws.choice("plan", tuple(kinds), tuple(kinds.values()))
        counts = {  # movements, emotions, traits
            "one": (1, 0, 0),
            "movements": (2 + draws.integer("movements", 2), 0, 0),
            "emotion": (0, 1, 0),
            "emotion and movement": (1, 1, 0),
            "trait": (0, 0, 1 + draws.integer("traits", 2)),
            "mixed": (1 + draws.integer("movements", 2), 0, 1),
            "mood": (0, 1, 1 + draws.integer("traits", 2)),
        }[kind]
        items: list[Item] = []
        used: frozenset[str] = frozenset()
        if counts[1] and self.emotions:
            name = draws.choice("emotion", self.emotions)
            items.append(Item("emotion", name, self._level(draws, "emotion")))
            used = self._muscles[name]
        resting = any(item.name == "neutral" for item in items)
        for index in range(0 if resting or not self.movements else counts[0]):
            name = draws.choice(f"movement{index}", tuple(self.movements))
            if not MOVEMENTS[name].uses & used:
                items.append(Item("movement", name, self._level(draws, f"movement{index}")))
                used |= MOVEMENTS[name].uses
        for index in range(counts[2] if self.traits else 0):
            name = draws.choice(f"trait{index}", self.traits)
            if all(TRAITS[name].part != TRAITS[item.name].part for item in items if item.kind == "trait"):
                less = draws.chance(f"less{index}", 0.5)
                items.append(Item("trait", name, self._level(draws, f"trait{index}"), less))
        return tuple(items) or self._something(draws)

    def _something(self, draws: Draws) -> tuple[Item, ...]:
        """One thing, where nothing of what was planned is there in this model."""
        if self.movements:
            return (Item("movement", draws.choice("movement", tuple(self.movements)), self._level(draws, "movement")),)
        trait = draws.choice("trait", self.traits)
        return (Item("trait", trait, self._level(draws, "trait"), draws.chance("less", 0.5)),)

    @staticmethod
    def _level(draws: Draws, name: str) -> str:
        return draws.choice(f"{name}.level", ("slight", "", "strong"), (2, 5, 3))

    def meaning(self, items: Sequence[Item]) -> tuple[dict[str, float], dict[str, float]]:
        """Expression shapes and traits that things said mean."""
        shapes: dict[str, float] = {}
        attributes: dict[str, float] = {}
        for item in items:
            if item.kind == "trait":
                attributes[item.name] = TRAIT_LEVELS[item.level] * (-1 if item.less else 1)
            elif item.kind == "emotion":
                shapes.update(emotion_shapes(EMOTIONS[item.name], self.names, item.level))
            else:
                shapes.update(
                    {shape: share * LEVELS[item.level] for shape, share in self.movements[item.name].items()}
                )
        return shapes, attributes

    def said(self, draws: Draws, items: Sequence[Item], templates: Sequence[str] | None = None) -> Sentence:
        """Things put into words, in one of some templates (all, if none are named)."""
        names = list(TEMPLATES if templates is None else templates)
        noun = draws.choice("noun", _NOUNS)
        plan = _Plan(draws, noun, tuple(phrases(draws, item) for item in items))
        text = None
        while text is None:
            name = names.pop(draws.integer(f"template{len(names)}", len(names))) if names else "noun with"
            text = TEMPLATES[name](plan)
        shapes, attributes = self.meaning(items)
        return Sentence(polished(text), shapes, attributes, tuple(items), name)

    def sentence(self, number: int) -> Sentence:
        """Sentence ``number``."""
        attempt = 0
        while True:
            # Combinations of the other split are passed over: a sixth, or five sixths, of those of several things.
            draws = Draws(self.seed ^ 0x73656E74, number * 64 + min(attempt, 63))
            items = self.plan(draws)
            if len(items) == 1 or attempt >= 63 or held_out_combination(items) == self.held_out:
                break
            attempt += 1
        if held_out_combination(items) != (self.held_out and len(items) > 1):
            items = items[:1]  # never yet seen: sixty-three combinations of the other split in a row
        if self.held_out:
            allowed = HELD_OUT_TEMPLATES if len(items) == 1 else tuple(TEMPLATES)
        else:
            allowed = tuple(name for name in TEMPLATES if name not in HELD_OUT_TEMPLATES)
        return self.said(draws, items, allowed)

    def conversation(self, number: int) -> Conversation:
        """Sentence ``number`` asked for as a sculpture."""
        sentence = self.sentence(number)
        draws = Draws(self.seed ^ 0x61736B73, number)
        return sculpture(
            draws,
            sentence.text,
            shapes=sentence.shapes,
            attributes=sentence.attributes,
            keywords=sentence.template in ("telegram", "only nouns", "on the face"),
        )
