"""What a face can do, in shapes and in words: a smile, a raised left eyebrow, a gaze to the right.

Shapes have ARKit's names with ``_L`` and ``_R`` (the person's own left and right), as those of the ICT Face Model, of
Anny and of the built-in head; a model that lacks a shape lacks the movements that need it. No words negate: what is
not named is at rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

__all__ = ["DEGREES", "LEVELS", "MOVEMENTS", "Movement", "conflict", "usable_shapes"]

LEVELS: dict[str, float] = {"slight": 0.35, "": 0.7, "strong": 1.0}
"""How far a movement goes, by the degree its words give; the middle one has no word."""

DEGREES: dict[str, dict[str, tuple[str, ...]]] = {
    "a": {"slight": ("slight", "faint", "subtle"), "strong": ("strong", "pronounced", "marked")},
    "p": {"slight": ("slightly", "somewhat"), "strong": ("strongly", "markedly", "clearly")},
    "d": {"slight": ("slightly", "a little", "a bit", "somewhat"), "strong": ("strongly", "markedly", "very much")},
    "v": {"slight": ("slightly", "a little", "a bit", "somewhat"), "strong": ("strongly", "a lot", "very much")},
}
"""Words of degree by slot: adjective of a noun, adverb in "an open mouth", adverb after "is", adverb at the end."""


@dataclass(frozen=True)
class Movement:
    """One thing that a face does.

    Phrases may hold slots for a word of degree: ``{a}`` and ``{p}`` in ``nouns`` (an adjective, an adverb), ``{d}`` in
    ``states`` and ``adjectives``, ``{v}`` at the end of ``verbs``.

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
    degrees: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    opposites: tuple[str, ...] = ()


def usable_shapes(movement: Movement, names: Collection[str]) -> Mapping[str, float] | None:
    """The shapes that make a movement in a model of these shape names; ``None`` where it cannot be made."""
    return next((way for way in movement.shapes if all(shape in names for shape in way)), None)


def conflict(first: Movement, second: Movement) -> bool:
    """Whether two movements need the same muscles."""
    return bool(first.uses & second.uses)


_WIDE = {
    "p": {"slight": ("slightly", "somewhat"), "strong": ("wide", "widely")},
    "d": {"slight": ("slightly", "a little", "a bit"), "strong": ("wide", "widely", "very")},
    "v": {"slight": ("slightly", "a little", "a bit"), "strong": ("wide", "very wide", "as far as possible")},
}
_TIGHT = {
    "p": {"slight": ("half", "partly"), "strong": ("tightly", "firmly", "completely")},
    "d": {"slight": ("half", "partly", "slightly"), "strong": ("tightly", "firmly", "completely")},
    "v": {"slight": ("halfway", "partly", "a little"), "strong": ("tightly", "firmly", "completely")},
}
_HIGH = {
    "p": {"slight": ("slightly", "somewhat"), "strong": ("highly", "strongly")},
    "v": {"slight": ("slightly", "a little", "a bit"), "strong": ("high", "a lot", "as far as possible")},
}
_FAR = {
    "a": {"slight": ("slight", "small"), "strong": ("strong", "marked")},
    "p": {"slight": ("slightly", "somewhat"), "strong": ("far", "strongly")},
    "d": {"slight": ("slightly", "a little", "a bit"), "strong": ("far", "strongly")},
    "v": {"slight": ("slightly", "a little", "a bit"), "strong": ("a lot", "very far", "as far as possible")},
}
_BROAD = {
    "a": {"slight": ("slight", "faint", "subtle", "little"), "strong": ("broad", "big", "wide", "huge")},
    "p": {"slight": ("slightly", "faintly", "gently"), "strong": ("broadly", "widely")},
    "v": {"slight": ("slightly", "a little", "faintly", "gently"), "strong": ("broadly", "a lot", "from ear to ear")},
}


def _both(*names: str) -> dict[str, float]:
    return {f"{name}_{side}": 1.0 for name in names for side in "LR"}


def _uses(*muscles: str) -> frozenset[str]:
    """Both sides of ``"muscle"``, or one side of ``"muscle L"``."""
    one = [muscle for muscle in muscles if muscle[-2:] in (" L", " R")]
    return frozenset((*one, *(f"{muscle} {side}" for muscle in muscles if muscle not in one for side in "LR")))


MOVEMENTS: dict[str, Movement] = {
    # Mouth -----------------------------------------------------------------------------------------------------------
    "smile": Movement(
        (_both("mouthSmile"),),
        _uses("corner"),
        ("a {a}smile", "a {a}grin", "{p}raised corners of the mouth"),
        ("smiles{v}", "grins{v}"),
        ("the corners of the mouth are {d}raised", "the corners of the mouth turn up{v}"),
        ("{p}smiling", "{p}grinning"),
        {
            **_BROAD,
            "d": {"slight": ("slightly", "a little", "a bit"), "strong": ("strongly", "far", "markedly")},
        },
        ("mouth frown",),
    ),
    "mouth frown": Movement(
        (_both("mouthFrown"),),
        _uses("corner"),
        ("{p}lowered corners of the mouth", "a {p}downturned mouth", "a {p}drooping mouth"),
        ("lowers the corners of the mouth{v}", "turns the corners of the mouth down{v}"),
        ("the corners of the mouth are {d}turned down", "the corners of the mouth droop{v}"),
        ("{p}frowning",),
        opposites=("smile",),
    ),
    "open mouth": Movement(
        ({"jawOpen": 1.0},),
        _uses("jaw height"),
        ("a {p}open mouth", "a {p}opened mouth", "the mouth {p}open", "a {p}dropped jaw"),
        ("opens the mouth{v}", "drops the jaw{v}"),
        ("the mouth is {d}open", "the mouth stands {d}open", "the jaw is {d}dropped"),
        ("{p}open-mouthed", "{p}gaping"),
        _WIDE,
    ),
    "lowered jaw": Movement(
        ({"jawOpen": 1.0, "mouthClose": 1.0},),
        _uses("jaw height", "lip seal"),
        ("a {p}lowered jaw behind closed lips", "closed lips over a {p}lowered jaw"),
        ("lowers the jaw behind closed lips{v}",),
        ("the jaw is {d}lowered behind closed lips", "the lips are closed over a {p}lowered jaw"),
    ),
    "pucker": Movement(
        ({"mouthPucker": 1.0},),
        _uses("lip ring", "corner", "mouth width"),
        ("{p}puckered lips", "{p}pursed lips", "a {p}puckered mouth", "a {a}kissing mouth"),
        ("puckers the lips{v}", "purses the lips{v}"),
        ("the lips are {d}puckered", "the lips are {d}pursed"),
        opposites=("stretched mouth",),
    ),
    "funnel": Movement(
        ({"mouthFunnel": 1.0},),
        _uses("lip ring", "corner", "mouth width"),
        ("{p}rounded lips", "the lips {p}rounded like a funnel", "{p}funnelled lips"),
        ("rounds the lips{v}", "forms a funnel with the lips{v}"),
        ("the lips are {d}rounded", "the lips are {d}rounded like a funnel"),
    ),
    "stretched mouth": Movement(
        (_both("mouthStretch"),),
        _uses("corner", "mouth width", "lip ring"),
        ("{p}stretched lips", "a {p}stretched mouth", "the lips {p}pulled to the sides"),
        ("stretches the lips{v}", "pulls the lips to both sides{v}", "stretches the mouth{v}"),
        ("the lips are {d}stretched", "the mouth is {d}stretched to the sides"),
        opposites=("pucker",),
    ),
    "pressed lips": Movement(
        (_both("mouthPress"),),
        _uses("lip seal", "lip ring", "jaw height", "upper lip", "lower lip"),
        ("{p}pressed lips", "the lips {p}pressed together"),
        ("presses the lips together{v}", "presses the lips{v}"),
        ("the lips are {d}pressed together", "the lips press on each other{v}"),
        degrees={
            "p": {"slight": ("slightly", "lightly"), "strong": ("strongly", "tightly", "firmly")},
            "d": {"slight": ("slightly", "lightly", "a bit"), "strong": ("strongly", "tightly", "firmly")},
            "v": {"slight": ("slightly", "lightly", "a little"), "strong": ("strongly", "tightly", "firmly")},
        },
    ),
    "dimples": Movement(
        (_both("mouthDimple"),),
        _uses("dimple"),
        ("{a}dimples", "{a}dimples beside the mouth", "{p}dimpled cheeks"),
        ("shows {a}dimples", "dimples the cheeks{v}"),
        ("the cheeks are {d}dimpled", "dimples form beside the mouth{v}"),
        degrees={"a": {"slight": ("slight", "faint", "small"), "strong": ("deep", "strong", "marked")}},
    ),
    "raised upper lip": Movement(
        (_both("mouthUpperUp"),),
        _uses("upper lip"),
        ("a {p}raised upper lip", "a {p}lifted upper lip", "{p}bared upper teeth"),
        ("raises the upper lip{v}", "lifts the upper lip{v}", "bares the upper teeth{v}"),
        ("the upper lip is {d}raised", "the upper lip is {d}pulled up"),
        degrees=_HIGH,
        opposites=("rolled upper lip",),
    ),
    "lowered lower lip": Movement(
        (_both("mouthLowerDown"),),
        _uses("lower lip"),
        ("a {p}lowered lower lip", "{p}bared lower teeth", "the lower lip {p}pulled down"),
        ("lowers the lower lip{v}", "pulls the lower lip down{v}", "bares the lower teeth{v}"),
        ("the lower lip is {d}lowered", "the lower lip is {d}pulled down"),
        opposites=("pushed-up lower lip", "rolled lower lip"),
    ),
    "rolled lower lip": Movement(
        ({"mouthRollLower": 1.0},),
        _uses("lower lip", "lip ring"),
        ("a {p}rolled-in lower lip", "the lower lip {p}tucked in"),
        ("rolls the lower lip in{v}", "tucks the lower lip in{v}"),
        ("the lower lip is {d}rolled in", "the lower lip is {d}tucked in"),
        opposites=("lowered lower lip",),
    ),
    "rolled upper lip": Movement(
        ({"mouthRollUpper": 1.0},),
        _uses("upper lip", "lip ring"),
        ("a {p}rolled-in upper lip", "the upper lip {p}tucked in"),
        ("rolls the upper lip in{v}", "tucks the upper lip in{v}"),
        ("the upper lip is {d}rolled in", "the upper lip is {d}tucked in"),
        opposites=("raised upper lip",),
    ),
    "pushed-up lower lip": Movement(
        ({"mouthShrugLower": 1.0},),
        _uses("lower lip"),
        ("a {p}pushed-up lower lip", "a {p}pouting lower lip", "the chin {p}pushed up"),
        ("pushes the lower lip up{v}", "pushes the chin up{v}", "pouts with the lower lip{v}"),
        ("the lower lip is {d}pushed up", "the chin is {d}pushed up"),
        degrees=_FAR,
        opposites=("lowered lower lip",),
    ),
    "pushed-up upper lip": Movement(
        ({"mouthShrugUpper": 1.0},),
        _uses("upper lip"),
        ("a {p}shrugged upper lip", "the upper lip {p}pushed towards the nose"),
        ("shrugs the upper lip{v}", "pushes the upper lip towards the nose{v}"),
        ("the upper lip is {d}shrugged", "the upper lip is {d}pushed towards the nose"),
    ),
    # Jaw -------------------------------------------------------------------------------------------------------------
    "jutting jaw": Movement(
        ({"jawForward": 1.0},),
        _uses("jaw depth"),
        ("a {p}jutting jaw", "the jaw {p}pushed forward", "a {p}protruding lower jaw"),
        ("pushes the jaw forward{v}", "juts the jaw{v}", "thrusts the lower jaw forward{v}"),
        ("the jaw is {d}pushed forward", "the lower jaw juts out{v}"),
        degrees=_FAR,
    ),
    # Brows -----------------------------------------------------------------------------------------------------------
    "lowered brows": Movement(
        (_both("browDown"),),
        _uses("brow"),
        ("{p}lowered eyebrows", "{p}knitted brows", "a {p}furrowed brow"),
        ("lowers the eyebrows{v}", "knits the brows{v}", "furrows the brow{v}"),
        ("the eyebrows are {d}lowered", "the brows are {d}knitted", "the eyebrows are {d}drawn down"),
        opposites=("raised brows", "raised outer brows", "raised inner brows"),
    ),
    "raised brows": Movement(
        (_both("browInnerUp", "browOuterUp"), {"browInnerUp": 1.0, **_both("browOuterUp")}),
        _uses("brow"),
        ("{p}raised eyebrows", "{p}lifted eyebrows", "{p}arched brows"),
        ("raises the eyebrows{v}", "lifts the eyebrows{v}", "raises both eyebrows{v}"),
        ("the eyebrows are {d}raised", "the eyebrows are {d}lifted", "both eyebrows are {d}raised"),
        degrees=_HIGH,
        opposites=("lowered brows",),
    ),
    "raised inner brows": Movement(
        (_both("browInnerUp"), {"browInnerUp": 1.0}),
        _uses("brow"),
        ("{p}raised inner eyebrows", "the inner ends of the eyebrows {p}raised", "{p}slanted eyebrows"),
        ("raises the inner ends of the eyebrows{v}", "lifts the inner eyebrows{v}"),
        ("the inner ends of the eyebrows are {d}raised", "the inner eyebrows are {d}lifted"),
        degrees=_HIGH,
        opposites=("lowered brows",),
    ),
    "raised outer brows": Movement(
        (_both("browOuterUp"),),
        _uses("brow"),
        ("{p}raised outer eyebrows", "the outer ends of the eyebrows {p}raised"),
        ("raises the outer ends of the eyebrows{v}", "lifts the outer eyebrows{v}"),
        ("the outer ends of the eyebrows are {d}raised", "the outer eyebrows are {d}lifted"),
        degrees=_HIGH,
        opposites=("lowered brows",),
    ),
    # Eyes ------------------------------------------------------------------------------------------------------------
    "closed eyes": Movement(
        (_both("eyeBlink"),),
        _uses("lid"),
        ("{p}closed eyes", "{p}shut eyes", "the eyes {p}closed"),
        ("closes the eyes{v}", "shuts the eyes{v}", "keeps both eyes {p}closed"),
        ("the eyes are {d}closed", "the eyes are {d}shut", "both eyes are {d}closed"),
        degrees=_TIGHT,
        opposites=("wide eyes",),
    ),
    "wide eyes": Movement(
        (_both("eyeWide"),),
        _uses("lid"),
        ("{p}widened eyes", "{a}wide eyes", "the eyes {p}widened"),
        ("widens the eyes{v}", "opens the eyes wide{v}"),
        ("the eyes are {d}widened", "both eyes are {d}widened"),
        ("{p}wide-eyed",),
        {"a": {"slight": ("slightly", "somewhat"), "strong": ("very", "extremely")}},
        ("closed eyes", "narrow eyes"),
    ),
    "narrow eyes": Movement(
        (_both("eyeSquint"),),
        _uses("lid"),
        ("{p}narrowed eyes", "{p}squinting eyes", "a {a}squint"),
        ("narrows the eyes{v}", "squints{v}", "squeezes the eyelids together{v}"),
        ("the eyes are {d}narrowed", "both eyes squint{v}"),
        ("{p}squinting",),
        opposites=("wide eyes",),
    ),
    "look up": Movement(
        (_both("eyeLookUp"),),
        _uses("gaze height"),
        ("a {p}raised gaze", "a {a}look upwards", "the eyes {p}turned up"),
        ("looks up{v}", "gazes upwards{v}", "turns the eyes up{v}"),
        ("the eyes look up{v}", "the gaze is {d}raised", "the eyes are turned {d}upwards"),
        degrees=_FAR,
        opposites=("look down",),
    ),
    "look down": Movement(
        (_both("eyeLookDown"),),
        _uses("gaze height"),
        ("a {p}lowered gaze", "a {a}look downwards", "the eyes {p}turned down"),
        ("looks down{v}", "gazes downwards{v}", "lowers the gaze{v}"),
        ("the eyes look down{v}", "the gaze is {d}lowered", "the eyes are turned {d}downwards"),
        degrees=_FAR,
        opposites=("look up",),
    ),
    # Cheeks and nose -------------------------------------------------------------------------------------------------
    "puffed cheeks": Movement(
        (_both("cheekPuff"), {"cheekPuff": 1.0}),
        _uses("cheek volume", "corner"),
        ("{p}puffed cheeks", "{p}blown-up cheeks", "the cheeks {p}puffed out"),
        ("puffs out the cheeks{v}", "blows up the cheeks{v}"),
        ("the cheeks are {d}puffed out", "the cheeks are {d}blown up"),
    ),
    "squeezed cheeks": Movement(
        (_both("cheekSquint"),),
        _uses("cheek"),
        ("{p}squeezed cheeks", "the cheeks {p}squeezed against the eyes"),
        ("squeezes the cheeks against the eyes{v}", "squeezes the cheeks up{v}"),
        ("the cheeks are {d}squeezed up", "the cheeks press against the eyes{v}"),
    ),
    "lifted cheeks": Movement(
        (_both("cheekRaiser"),),
        _uses("cheek"),
        ("{p}lifted cheeks", "{p}raised cheeks"),
        ("lifts the cheeks{v}", "raises the cheeks{v}"),
        ("the cheeks are {d}lifted", "the cheeks are {d}raised"),
        degrees=_HIGH,
    ),
    "wrinkled nose": Movement(
        (_both("noseSneer"),),
        _uses("nose"),
        ("a {p}wrinkled nose", "a {p}scrunched nose", "{p}flared nostrils", "a {a}sneer"),
        ("wrinkles the nose{v}", "scrunches the nose{v}", "sneers{v}"),
        ("the nose is {d}wrinkled", "the nose is {d}scrunched up", "the nostrils are {d}lifted"),
        ("{p}sneering",),
    ),
    "large pupils": Movement(
        (_both("PupilDilate"),),
        _uses("pupil"),
        ("{p}dilated pupils", "{p}enlarged pupils"),
        ("shows {p}dilated pupils", "dilates the pupils{v}"),
        ("the pupils are {d}dilated", "the pupils are {d}enlarged"),
    ),
}


def _add_sides() -> None:
    """Movements of one side of the face, from phrases in which ``{s}`` is the side."""
    for letter, side, other in (("L", "left", "right"), ("R", "right", "left")):

        def one(
            name: str,
            shapes: tuple[Mapping[str, float], ...],
            muscles: tuple[str, ...],
            nouns: tuple[str, ...],
            verbs: tuple[str, ...],
            states: tuple[str, ...],
            adjectives: tuple[str, ...] = (),
            degrees: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
            opposite: str | None = None,
            *,
            side: str = side,
            other: str = other,
        ) -> None:
            nouns, verbs, states = (
                tuple(phrase.replace("{s}", side) for phrase in phrases) for phrases in (nouns, verbs, states)
            )
            against = (name.replace("{s}", other), *((opposite,) if opposite else ()))
            MOVEMENTS[name.replace("{s}", side)] = Movement(
                shapes, _uses(*muscles), nouns, verbs, states, adjectives, degrees or {}, against
            )

        def shape(*names: str, letter: str = letter) -> dict[str, float]:
            return {f"{name}_{letter}": 1.0 for name in names}

        away = "R" if letter == "L" else "L"
        one(
            "smile on the {s}", (shape("mouthSmile"),), (f"corner {letter}", "mouth side"),
            ("a {a}smile on the {s} side", "the {s} corner of the mouth {p}raised", "a {a}smirk on the {s}"),
            ("smiles on the {s} side{v}", "raises the {s} corner of the mouth{v}", "smirks on the {s}{v}"),
            ("the {s} corner of the mouth is {d}raised", "the mouth smiles on the {s} side{v}"),
            opposite="mouth frown",
        )  # fmt: skip
        one(
            "mouth frown on the {s}", (shape("mouthFrown"),), (f"corner {letter}", "mouth side"),
            ("the {s} corner of the mouth {p}lowered", "a {p}drooping {s} corner of the mouth"),
            ("lowers the {s} corner of the mouth{v}", "pulls the {s} corner of the mouth down{v}"),
            ("the {s} corner of the mouth is {d}lowered", "the {s} corner of the mouth droops{v}"),
            opposite="smile",
        )  # fmt: skip
        one(
            "dimple on the {s}", (shape("mouthDimple"),), (f"dimple {letter}",),
            ("a {a}dimple in the {s} cheek", "a {p}dimpled {s} cheek"),
            ("shows a {a}dimple in the {s} cheek", "dimples the {s} cheek{v}"),
            ("the {s} cheek is {d}dimpled",),
        )  # fmt: skip
        one(
            "stretched mouth on the {s}", (shape("mouthStretch"),), (f"corner {letter}", "mouth width", "mouth side"),
            ("the {s} corner of the mouth {p}stretched", "the mouth {p}stretched on the {s} side"),
            ("stretches the {s} corner of the mouth{v}", "stretches the mouth on the {s} side{v}"),
            ("the {s} corner of the mouth is {d}stretched", "the mouth is {d}stretched on the {s} side"),
        )  # fmt: skip
        one(
            "raised upper lip on the {s}", (shape("mouthUpperUp"),), (f"upper lip {letter}",),
            ("a {p}curled upper lip on the {s} side", "the {s} side of the upper lip {p}raised"),
            ("raises the {s} side of the upper lip{v}", "curls the upper lip on the {s} side{v}"),
            ("the {s} side of the upper lip is {d}raised", "the upper lip is {d}curled on the {s} side"),
        )  # fmt: skip
        one(
            "lowered lower lip on the {s}", (shape("mouthLowerDown"),), (f"lower lip {letter}",),
            ("the {s} side of the lower lip {p}lowered", "the lower lip {p}pulled down on the {s} side"),
            ("lowers the {s} side of the lower lip{v}", "pulls the lower lip down on the {s} side{v}"),
            ("the {s} side of the lower lip is {d}lowered",),
        )  # fmt: skip
        one(
            "mouth to the {s}", ({f"mouth{side.capitalize()}": 1.0},), ("mouth side", "lip ring"),
            ("the mouth {p}shifted to the {s}", "a mouth {p}drawn to the {s}"),
            ("moves the mouth to the {s}{v}", "draws the lips to the {s}{v}", "shifts the mouth to the {s}{v}"),
            ("the mouth is {d}shifted to the {s}", "the lips are {d}drawn to the {s}"),
            degrees=_FAR,
        )  # fmt: skip
        one(
            "jaw to the {s}", ({f"jaw{side.capitalize()}": 1.0},), ("jaw side",),
            ("the jaw {p}shifted to the {s}", "a jaw {p}pushed to the {s}"),
            ("moves the jaw to the {s}{v}", "pushes the jaw to the {s}{v}", "shifts the jaw to the {s}{v}"),
            ("the jaw is {d}shifted to the {s}", "the lower jaw is {d}pushed to the {s}"),
            degrees=_FAR,
        )  # fmt: skip
        one(
            "wink on the {s}", (shape("eyeBlink"),), (f"lid {letter}",),
            ("the {s} eye {p}closed", "a {p}closed {s} eye", "a wink of the {s} eye"),
            ("closes the {s} eye{v}", "winks with the {s} eye", "shuts the {s} eye{v}"),
            ("the {s} eye is {d}closed", "the {s} eye is {d}shut"),
            degrees=_TIGHT,
            opposite="wide eyes",
        )  # fmt: skip
        one(
            "wide eye on the {s}", (shape("eyeWide"),), (f"lid {letter}",),
            ("the {s} eye {p}widened", "a {p}widened {s} eye"),
            ("widens the {s} eye{v}", "opens the {s} eye wide{v}"),
            ("the {s} eye is {d}widened",),
            opposite="closed eyes",
        )  # fmt: skip
        one(
            "narrow eye on the {s}", (shape("eyeSquint"),), (f"lid {letter}",),
            ("the {s} eye {p}narrowed", "a {p}squinting {s} eye"),
            ("narrows the {s} eye{v}", "squints with the {s} eye{v}"),
            ("the {s} eye is {d}narrowed", "the {s} eye squints{v}"),
            opposite="wide eyes",
        )  # fmt: skip
        one(
            "raised brow on the {s}", (shape("browInnerUp", "browOuterUp"), shape("browOuterUp")), (f"brow {letter}",),
            ("a {p}raised {s} eyebrow", "the {s} eyebrow {p}raised", "a {p}lifted {s} eyebrow"),
            ("raises the {s} eyebrow{v}", "lifts the {s} eyebrow{v}"),
            ("the {s} eyebrow is {d}raised", "the {s} eyebrow is {d}lifted"),
            degrees=_HIGH,
            opposite="lowered brows",
        )  # fmt: skip
        one(
            "lowered brow on the {s}", (shape("browDown"),), (f"brow {letter}",),
            ("a {p}lowered {s} eyebrow", "the {s} eyebrow {p}lowered"),
            ("lowers the {s} eyebrow{v}", "pulls the {s} eyebrow down{v}"),
            ("the {s} eyebrow is {d}lowered", "the {s} eyebrow is {d}pulled down"),
            opposite="raised brows",
        )  # fmt: skip
        one(
            "puffed cheek on the {s}", (shape("cheekPuff"),), (f"cheek volume {letter}", f"corner {letter}"),
            ("the {s} cheek {p}puffed out", "a {p}puffed {s} cheek"),
            ("puffs out the {s} cheek{v}", "blows up the {s} cheek{v}"),
            ("the {s} cheek is {d}puffed out", "the {s} cheek is {d}blown up"),
        )  # fmt: skip
        one(
            "wrinkled nose on the {s}", (shape("noseSneer"),), (f"nose {letter}",),
            ("a {a}sneer on the {s} side", "the {s} nostril {p}lifted"),
            ("sneers on the {s} side{v}", "lifts the {s} nostril{v}"),
            ("the {s} nostril is {d}lifted", "the nose is {d}wrinkled on the {s} side"),
        )  # fmt: skip
        one(
            "look to the {s}", ({f"eyeLookOut_{letter}": 1.0, f"eyeLookIn_{away}": 1.0},), ("gaze side",),
            ("a {a}look to the {s}", "the eyes {p}turned to the {s}", "a {a}glance to the {s}"),
            ("looks to the {s}{v}", "glances to the {s}{v}", "turns the eyes to the {s}{v}"),
            ("the eyes look to the {s}{v}", "the eyes are {d}turned to the {s}"),
            degrees=_FAR,
        )  # fmt: skip


_add_sides()
