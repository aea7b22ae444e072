"""Emotions and other states that have a name, as mixtures of named shapes.

The mixtures follow the action units of Ekman and Friesen's prototypes as far as ARKit's shapes go (happiness 6 + 12,
sadness 1 + 4 + 15, surprise 1 + 2 + 5 + 26, fear 1 + 2 + 4 + 5 + 20 + 26, anger 4 + 5 + 7 + 23, disgust 9 + 15 + 16,
contempt 12 + 14 on one side); the weights are ours. What a face shows is no fact about what somebody feels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

__all__ = ["EMOTIONS", "EMOTION_LEVELS", "Emotion", "emotion_shapes", "is_attributive"]

EMOTION_LEVELS: dict[str, float] = {"slight": 0.5, "": 0.8, "strong": 1.1}
"""By what the mixtures are multiplied."""


@dataclass(frozen=True)
class Emotion:
    """A mixture of shapes that has a name.

    Attributes:
        shapes: name → weight, 0 to 1, of sides ``L`` and ``R`` alike where it has no side.
        adjectives: after "looks" and before "man", by degree.
        nouns: after "with", by degree.
        doing: whether it is something that people do: they "are yawning", they do not "look" it.
    """

    shapes: Mapping[str, float]
    adjectives: Mapping[str, tuple[str, ...]]
    nouns: Mapping[str, tuple[str, ...]]
    doing: bool = False


_SIDED = (
    *("browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekRaiser", "cheekSquint", "eyeBlink", "eyeLookDown"),
    *("eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile"),
    *("mouthStretch", "mouthUpperUp", "noseSneer"),
)


def _sides(shapes: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, weight in shapes.items():
        found.update({f"{name}_L": weight, f"{name}_R": weight} if name in _SIDED else {name: weight})
    return found


def emotion_shapes(emotion: Emotion, names: Collection[str], level: str = "") -> dict[str, float]:
    """The shapes of an emotion at a level, 0 to 1, in a model of these shape names.

    Where a model has one shape for both sides (``browInnerUp``), it stands for the pair.
    """
    found: dict[str, float] = {}
    for name, weight in emotion.shapes.items():
        strength = min(1.0, weight * EMOTION_LEVELS[level])
        for known in (name, name[:-2] if name[-2:] in ("_L", "_R") else name):
            if known in names:
                found[known] = strength
                break
    return found


def _emotion(
    shapes: Mapping[str, float],
    middle: tuple[str, ...],
    slight: tuple[str, ...],
    strong: tuple[str, ...],
    noun: tuple[str, ...],
    doing: bool = False,
) -> Emotion:
    """An emotion whose nouns hold ``{a}`` for "slight " or "strong " and ``{adjective}`` for any of its adjectives."""
    gradable = () if doing else middle
    adjectives = {
        "slight": (*slight, *(f"{much} {word}" for word in gradable for much in ("slightly", "somewhat"))),
        "": middle,
        "strong": (*strong, *(f"{much} {word}" for word in gradable for much in ("very", "extremely"))),
    }
    degrees = {"slight": ("slight ", "faint "), "": ("",), "strong": ("strong ", "great ", "extreme ")}
    nouns: dict[str, tuple[str, ...]] = {}
    for level, words in adjectives.items():
        filled = [phrase.replace("{a}", word) for phrase in noun for word in degrees[level]]
        things = ("face",) if doing else ("expression", "look", "face")
        filled += [f"a {word} {thing}" for word in words if is_attributive(word) for thing in things]
        nouns[level] = tuple(filled)
    return Emotion(_sides(shapes), adjectives, nouns, doing)


def is_attributive(words: str) -> bool:
    """Whether an adjective may stand before its noun: "a sad man", but not "a fast asleep man"."""
    return len(words.split()) <= 2 and words.split()[-1] not in ("off", "asleep", "out")


EMOTIONS: dict[str, Emotion] = {
    "happiness": _emotion(
        {"mouthSmile": 0.85, "cheekSquint": 0.5, "eyeSquint": 0.2},
        ("happy", "cheerful", "joyful", "glad"),
        ("pleased", "contented", "friendly"),
        ("delighted", "overjoyed", "radiant", "jubilant"),
        ("a look of {a}happiness", "an expression of {a}joy"),
    ),
    "laughter": _emotion(
        {"mouthSmile": 0.9, "jawOpen": 0.5, "cheekSquint": 0.7, "eyeSquint": 0.4, "mouthUpperUp": 0.3},
        ("laughing", "amused"),
        ("chuckling", "giggling"),
        ("roaring with laughter", "laughing out loud", "heartily laughing"),
        ("{a}laughter on the face",),
        doing=True,
    ),
    "sadness": _emotion(
        {"mouthFrown": 0.75, "browInnerUp": 0.8, "mouthShrugLower": 0.3, "eyeLookDown": 0.2},
        ("sad", "unhappy", "sorrowful", "gloomy"),
        ("wistful", "melancholic"),
        ("miserable", "heartbroken", "desperate", "devastated"),
        ("a look of {a}sadness", "an expression of {a}sorrow"),
    ),
    "anger": _emotion(
        {"browDown": 0.9, "mouthPress": 0.5, "noseSneer": 0.35, "eyeSquint": 0.35},
        ("angry", "cross", "hostile"),
        ("annoyed", "irritated", "grumpy"),
        ("furious", "enraged", "livid"),
        ("a look of {a}anger", "an expression of {a}rage"),
    ),
    "surprise": _emotion(
        {"jawOpen": 0.5, "browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.7},
        ("surprised", "startled"),
        ("puzzled", "mildly surprised"),
        ("astonished", "amazed", "stunned", "astounded"),
        ("a look of {a}surprise", "an expression of {a}astonishment"),
    ),
    "fear": _emotion(
        {"eyeWide": 0.8, "browInnerUp": 0.8, "browDown": 0.25, "mouthStretch": 0.7, "jawOpen": 0.2},
        ("frightened", "scared", "fearful"),
        ("anxious", "worried", "nervous"),
        ("terrified", "panicked", "horrified"),
        ("a look of {a}fear", "an expression of {a}fright"),
    ),
    "disgust": _emotion(
        {"noseSneer": 0.85, "mouthUpperUp": 0.6, "browDown": 0.35, "mouthFrown": 0.35},
        ("disgusted", "repelled"),
        ("put off", "displeased"),
        ("revolted", "nauseated", "sickened"),
        ("a look of {a}disgust", "an expression of {a}revulsion"),
    ),
    "contempt": _emotion(
        {"mouthSmile_L": 0.5, "mouthDimple_L": 0.7, "eyeSquint": 0.3, "browDown": 0.15},
        ("contemptuous", "scornful", "disdainful"),
        ("smug", "condescending"),
        ("arrogant", "utterly scornful"),
        ("a look of {a}contempt", "an expression of {a}scorn"),
    ),
    "sleepiness": _emotion(
        {"eyeBlink": 0.6, "browInnerUp": 0.2, "jawOpen": 0.1},
        ("sleepy", "tired", "drowsy"),
        ("weary", "dreamy"),
        ("exhausted", "dead tired"),
        ("a look of {a}sleepiness", "an expression of {a}fatigue"),
    ),
    "sleep": _emotion(
        {"eyeBlink": 0.95},
        ("sleeping", "slumbering"),
        ("dozing", "nodding off"),
        ("fast asleep", "deeply sleeping"),
        ("the face of a deep sleeper",),
        doing=True,
    ),
    "pain": _emotion(
        {"browDown": 0.8, "eyeBlink": 0.6, "mouthStretch": 0.6, "noseSneer": 0.4, "mouthUpperUp": 0.3},
        ("pained", "distressed"),
        ("strained", "uncomfortable"),
        ("agonised", "tormented"),
        ("a look of {a}pain", "an expression of {a}suffering"),
    ),
    "doubt": _emotion(
        {"browOuterUp_L": 0.9, "browDown_R": 0.6, "mouthFrown": 0.25, "eyeSquint_R": 0.3},
        ("sceptical", "doubtful", "incredulous"),
        ("hesitant", "questioning"),
        ("deeply sceptical", "highly doubtful"),
        ("a look of {a}doubt", "an expression of {a}scepticism"),
    ),
    "concentration": _emotion(
        {"browDown": 0.5, "eyeSquint": 0.5, "mouthPress": 0.4},
        ("focused", "determined", "resolute"),
        ("thoughtful", "attentive"),
        ("intensely focused", "fiercely determined"),
        ("a look of {a}concentration", "an expression of {a}determination"),
    ),
    "shouting": _emotion(
        {"jawOpen": 0.9, "browDown": 0.6, "mouthStretch": 0.3, "mouthUpperUp": 0.3, "mouthLowerDown": 0.3},
        ("shouting", "yelling"),
        ("calling",),
        ("screaming", "roaring"),
        ("the face of somebody who shouts",),
        doing=True,
    ),
    "yawning": _emotion(
        {"jawOpen": 0.95, "eyeBlink": 0.6, "browInnerUp": 0.3},
        ("yawning",),
        ("gently yawning",),
        ("heartily yawning",),
        ("a {a}yawn",),
        doing=True,
    ),
    "kissing": _emotion(
        {"mouthPucker": 0.9, "eyeBlink": 0.4},
        ("kissing", "smooching"),
        ("tenderly kissing",),
        ("passionately kissing",),
        ("lips that kiss",),
        doing=True,
    ),
    "sulking": _emotion(
        {"mouthShrugLower": 0.7, "mouthFrown": 0.4, "browDown": 0.4, "mouthPucker": 0.15},
        ("sulky", "sullen", "resentful"),
        ("moody", "miffed"),
        ("deeply offended", "utterly resentful"),
        ("a {a}pout",),
    ),
    "shyness": _emotion(
        {"mouthSmile": 0.35, "eyeLookDown": 0.7, "mouthPress": 0.2},
        ("shy", "bashful", "timid"),
        ("modest", "reserved"),
        ("painfully shy", "deeply embarrassed"),
        ("a look of {a}shyness",),
    ),
    "whistling": _emotion(
        {"mouthFunnel": 0.4, "mouthPucker": 0.8},
        ("whistling",),
        ("softly whistling",),
        ("loudly whistling",),
        ("lips that whistle",),
        doing=True,
    ),
    "neutral": _emotion(
        {},
        ("neutral", "calm", "expressionless", "relaxed"),
        ("composed", "quiet"),
        ("perfectly calm", "completely relaxed"),
        ("a face at rest", "a neutral expression"),
    ),
}
"""Emotions by name."""
