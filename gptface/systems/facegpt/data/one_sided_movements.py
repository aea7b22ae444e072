"""Movements of one side: winks, a raised eyebrow, looks to the side, from phrases in which ``{s}`` is the side."""

from __future__ import annotations

from collections.abc import Mapping

from gptface.systems.facegpt.data.movement import FAR, HIGH, TIGHT, Degrees, Movement, uses

__all__ = ["one_sided_movements"]


def one_sided_movements() -> dict[str, Movement]:
    """All of them by name, of the person's own left and right."""
    found: dict[str, Movement] = {}
    for letter, side, other in (("L", "left", "right"), ("R", "right", "left")):

        def one(
            name: str,
            shapes: tuple[Mapping[str, float], ...],
            muscles: tuple[str, ...],
            nouns: tuple[str, ...],
            verbs: tuple[str, ...],
            states: tuple[str, ...],
            adjectives: tuple[str, ...] = (),
            degrees: Degrees | None = None,
            opposite: str | None = None,
            *,
            side: str = side,
            other: str = other,
        ) -> None:
            nouns, verbs, states = (
                tuple(phrase.replace("{s}", side) for phrase in phrases) for phrases in (nouns, verbs, states)
            )
            against = (name.replace("{s}", other), *((opposite,) if opposite else ()))
            found[name.replace("{s}", side)] = Movement(
                shapes, uses(*muscles), nouns, verbs, states, adjectives, degrees or {}, against
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
            ("shows a {a}dimple in the {s} cheek",),
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
            degrees=FAR,
        )  # fmt: skip
        one(
            "jaw to the {s}", ({f"jaw{side.capitalize()}": 1.0},), ("jaw side",),
            ("the jaw {p}shifted to the {s}", "a jaw {p}pushed to the {s}"),
            ("moves the jaw to the {s}{v}", "pushes the jaw to the {s}{v}", "shifts the jaw to the {s}{v}"),
            ("the jaw is {d}shifted to the {s}", "the lower jaw is {d}pushed to the {s}"),
            degrees=FAR,
        )  # fmt: skip
        one(
            "wink on the {s}", (shape("eyeBlink"),), (f"lid {letter}",),
            ("the {s} eye {p}closed", "a {p}closed {s} eye", "a wink of the {s} eye"),
            ("closes the {s} eye{v}", "winks with the {s} eye", "shuts the {s} eye{v}"),
            ("the {s} eye is {d}closed", "the {s} eye is {d}shut"),
            degrees=TIGHT,
            opposite="wide eyes",
        )  # fmt: skip
        one(
            "wide eye on the {s}", (shape("eyeWide"),), (f"lid {letter}",),
            ("the {s} eye {p}widened", "a {p}widened {s} eye"),
            ("widens the {s} eye{v}",),
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
            degrees=HIGH,
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
            degrees=FAR,
        )  # fmt: skip

    return found
