"""Shapes back into words: what a face of known shapes does, and conversations about a picture of it.

Conversations about a drawn face ask for the face in 3D, or for its expression in words, for both, whether it does this
or that, or which way it is turned, so that a picture alone is no reason for `<FACE>`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from gptface.data.procedural.randomness import Draws
from gptface.systems.facegpt.data.conversations import FACE, Conversation, capitalised, reconstruction
from gptface.systems.facegpt.data.emotions import EMOTIONS, emotion_shapes
from gptface.systems.facegpt.data.movement import LEVELS
from gptface.systems.facegpt.data.movements import MOVEMENTS
from gptface.systems.facegpt.data.sentences import Sentences
from gptface.systems.facegpt.data.wording import Item, joined, phrases

__all__ = ["about_drawn_face", "observed"]

_VISIBLE = 0.15
"""Weight below which a shape is not spoken of."""
_ALIKE = 0.92
"""Cosine from which on an expression is called by an emotion's name."""
_LOPSIDED = 0.6
"""Where one side does less than this share of the other, only the stronger side is spoken of."""


def observed(sentences: Sentences, shapes: Mapping[str, float], most: int = 3) -> tuple[Item, ...]:
    """What a face of these shapes can be said to do, the most striking first; nothing but "neutral" where it rests.

    An expression that is nearly an emotion's mixture is called by the emotion's name; otherwise movements are named one
    after another, each the one that explains most of what is left.

    Args:
        sentences: of the model.
        shapes: expression shape → weight; shapes not named are 0.
        most: how many movements at most.
    """
    left = {name: weight for name, weight in shapes.items() if weight > 0 and name in sentences.names}
    if all(weight < _VISIBLE for weight in left.values()):
        return (Item("emotion", "neutral"),) if "neutral" in sentences.emotions else ()
    best, cosine = "", 0.0
    for name in sentences.emotions:
        mixture = emotion_shapes(EMOTIONS[name], sentences.names)
        found = _cosine(left, mixture)
        if len(mixture) > 2 and found > cosine:
            best, cosine = name, found
    if cosine >= _ALIKE and sum(weight >= 0.04 for weight in left.values()) > 2:  # closed eyes alone are no emotion
        return (Item("emotion", best, _emotion_level(left, best, sentences)),)
    items: list[Item] = []
    used: frozenset[str] = frozenset()
    while len(items) < most:
        candidates = []
        for name, needed in sentences.movements.items():
            weights = [left.get(shape, 0.0) / share for shape, share in needed.items()]
            if MOVEMENTS[name].uses & used or min(weights) < max(_VISIBLE, _LOPSIDED * max(weights)):
                continue
            candidates.append((sum(left[shape] ** 2 for shape in needed), sum(weights) / len(weights), name))
        if not candidates:
            break
        _, strength, name = max(candidates)
        items.append(Item("movement", name, _level(strength)))
        used |= MOVEMENTS[name].uses
        for shape in sentences.movements[name]:
            del left[shape]
    return tuple(items)


def _cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    product = sum(weight * other.get(name, 0.0) for name, weight in one.items())
    lengths = [math.sqrt(sum(weight**2 for weight in shapes.values())) for shapes in (one, other)]
    return product / max(lengths[0] * lengths[1], 1e-9)


def _level(strength: float) -> str:
    return min(LEVELS, key=lambda level: abs(LEVELS[level] - strength))


def _emotion_level(shapes: Mapping[str, float], name: str, sentences: Sentences) -> str:
    def distance(level: str) -> float:
        mixture = emotion_shapes(EMOTIONS[name], sentences.names, level)
        return sum((shapes.get(shape, 0.0) - mixture.get(shape, 0.0)) ** 2 for shape in {*shapes, *mixture})

    return min(LEVELS, key=distance)


# Conversations -------------------------------------------------------------------------------------------------------

_EXPRESSION = (
    "what expression does this face show?",
    "which expression do you see?",
    "describe the expression of this face in words.",
    "what does this person do with the face?",
    "how does this person look?",
    "what is the face in the picture doing?",
    "put the expression into words.",
    "tell me what the face does.",
    "which movements of the face do you see?",
    "say in words how the face looks.",
)
_EXPRESSION_AND_FACE = (
    "what expression does this face show? show me the face in 3D as well.",
    "describe the expression and reconstruct the face in 3D.",
    "say what the face does, and give me a 3D model of it.",
    "name the expression and make a mesh of the face.",
    "which expression do you see, and what does the face look like in 3D?",
    "reconstruct this face in 3D and tell me its expression.",
)
_TURNED = (
    "which way is the head turned?",
    "where does the head turn?",
    "in which direction does the face point?",
    "is the face turned to one side?",
)
_STRAIGHT, _SIDEWAYS = 6.0, 10.0  # degrees of yaw; between them, nobody can tell
_KINDS = {"expression": 2.0, "both": 1.5, "whether": 1.0, "turned": 0.5}


def about_drawn_face(
    draws: Draws,
    sentences: Sentences,
    shapes: Mapping[str, float],
    yaw: float | None = None,
    *,
    words: float = 0.5,
) -> Conversation:
    """A conversation about a picture whose face has known shapes.

    Args:
        draws: choices.
        sentences: of the model.
        shapes: expression shape → weight.
        yaw: degrees by which the face is turned to the viewer's right; ``None``: not asked about.
        words: share of conversations that want more than the face in 3D, or something else.
    """
    if not draws.chance("words", words):
        return reconstruction(draws, shapes=shapes)
    kind = draws.choice("about", tuple(_KINDS), tuple(_KINDS.values()))
    items = observed(sentences, shapes)
    if kind == "turned" and yaw is not None and not _STRAIGHT < abs(yaw) < _SIDEWAYS:
        return _conversation(draws.choice("turned", _TURNED), _direction(draws, yaw), shapes, "picture words")
    if kind == "whether" and (found := _whether(draws, sentences, shapes)):
        return found
    if kind in ("expression", "both") and items:
        said = _words(draws, items)
        if kind == "expression":
            return _conversation(draws.choice("expression", _EXPRESSION), said, shapes, "picture words")
        answer = f"{said} {draws.choice('shown', (f'Here is the face: {FACE}.', FACE, f'In 3D it is {FACE}.'))}"
        question = draws.choice("both", _EXPRESSION_AND_FACE)
        question = re.sub(r"(?<=[?.] )[a-z]", lambda letter: letter[0].upper(), question)
        return _conversation(question, answer, shapes, "reconstruction with words")
    return reconstruction(draws, shapes=shapes)


def _conversation(question: str, answer: str, shapes: Mapping[str, float], kind: str) -> Conversation:
    return Conversation.of(capitalised(question), capitalised(answer), image=True, shapes=shapes, kind=kind)


def _words(draws: Draws, items: tuple[Item, ...]) -> str:
    """A sentence about a face: "The mouth is open and the left eye is closed." or the like."""
    words = [phrases(draws, item) for item in items]
    form = draws.choice("form", ("states", "verbs", "nouns"))
    if form == "states" and all(word.state for word in words):
        return capitalised(joined([word.state for word in words])) + "."
    if form == "nouns":
        return capitalised(joined([word.noun for word in words])) + "."
    subject = draws.choice("subject", ("the person", "this person", "the face"))
    if subject == "the face" and any(word.complement for word in words):
        subject = "the person"
    return f"{capitalised(subject)} {joined([word.verb for word in words])}."


def _whether(draws: Draws, sentences: Sentences, shapes: Mapping[str, float]) -> Conversation | None:
    """A question for one movement, answered by yes or no: half of the time one that is seen."""
    seen, absent = [], []
    for name, needed in sentences.movements.items():
        if re.match(r"the .+ (is|are) ", MOVEMENTS[name].states[0]):
            weights = [shapes.get(shape, 0.0) for shape in needed]
            if min(weights) >= 0.35:
                seen.append(name)
            elif max(weights) <= 0.05:
                absent.append(name)
    yes = bool(seen) and draws.chance("yes", 0.5)
    names = seen if yes else absent
    if not names:
        return None
    state = MOVEMENTS[draws.choice("which", names)].states[0].replace("{d}", "")
    part, verb, rest = re.split(r" (is|are) ", state, maxsplit=1)
    answer = draws.choice("answer", (("Yes.", "Yes, {it}.") if yes else ("No.", "No, {it} not.")))
    it = f"{'they' if verb == 'are' else 'it'} {verb}"
    return _conversation(f"{verb} {part} {rest}?", answer.replace("{it}", it), shapes, "picture words")


def _direction(draws: Draws, yaw: float) -> str:
    if abs(yaw) <= _STRAIGHT:
        return draws.choice("straight", ("It looks straight ahead.", "Straight ahead.", "Straight at the camera."))
    side = "right" if yaw > 0 else "left"
    return draws.choice(
        "side", (f"To the {side} of the picture.", f"It is turned to the viewer's {side}.", f"The viewer's {side}.")
    )
