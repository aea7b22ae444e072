"""The distribution of faces: from (seed, index) to a specification."""

from __future__ import annotations

import math

from gptface.faces.attributes import LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from gptface.faces.occluders import OCCLUDERS

from .randomness import Draws
from .specification import CLOTHES, HAIR_COLOURS, HAIR_CUTS, HAT_STYLES, Colour, FaceSpecification, with_attribute

__all__ = ["sample_specification", "unusual_specification"]

_IRISES: tuple[Colour, ...] = (
    (0.055, 0.022, 0.008),
    (0.11, 0.05, 0.018),
    (0.16, 0.12, 0.035),
    (0.07, 0.13, 0.06),
    (0.09, 0.19, 0.32),
    (0.16, 0.21, 0.25),
)
_FRAMES: tuple[Colour, ...] = ((0.012, 0.012, 0.015), (0.07, 0.025, 0.01), (0.02, 0.03, 0.10), (0.20, 0.02, 0.03))
_MASKS: tuple[Colour, ...] = ((0.34, 0.62, 0.78), (0.80, 0.82, 0.82), (0.03, 0.03, 0.035), (0.75, 0.42, 0.50))
_LIPSTICKS: tuple[Colour, ...] = ((0.50, 0.010, 0.025), (0.42, 0.012, 0.10), (0.58, 0.05, 0.035), (0.20, 0.005, 0.03))


def _hue(draws: Draws, name: str, low: float, high: float, saturation: float) -> Colour:
    """A colour of random hue, of brightness in [low, high] and at most the given saturation."""
    hue = draws.uniform(name + ".hue")
    brightness = draws.uniform(name + ".brightness", low, high)
    strength = saturation * draws.uniform(name + ".saturation")
    red, green, blue = (
        brightness * (1 - strength * (0.5 - 0.5 * math.cos(2 * math.pi * (hue - shift))))
        for shift in (0.0, 1 / 3, 2 / 3)
    )
    return red, green, blue


def sample_specification(
    seed: int,
    index: int,
    *,
    occluder_probability: float = 0.2,
    expression: str | None = None,
) -> FaceSpecification:
    """Face ``index`` of generator ``seed``: the same on every machine and in any order of asking.

    ``expression`` fixes the expression and leaves all else of this face as it would be.
    """
    d = Draws(seed, index)
    male = d.chance("male", 0.5)
    old = d.chance("old", 0.3)
    age = d.uniform("age", 0.62, 1.0) if old else d.uniform("age", 0.05, 0.38)
    tone = d.uniform("tone", 0.14, 1.0)
    # Hair: all four colours common enough to be learnt; grey mostly with age, blond less often with dark skin.
    weights = (2.0 + 2.0 * tone, 1.6, 2.4 * (1 - 0.9 * tone), 0.25 if not old else 4.5)
    hair_colour = d.choice("hair_colour", HAIR_COLOURS, weights)
    cuts = (3.0, 6.0, 2.0, 0.1, 0.6, 1.2) if male else (0.3, 1.2, 1.6, 2.0, 3.2, 5.5)
    hair_cut = d.choice("hair_cut", HAIR_CUTS, cuts)
    bald = d.chance("bald", (0.26 if old else 0.14) if male else 0.02)
    mustache = male and d.chance("mustache", 0.27)
    goatee = male and d.chance("goatee", 0.25)
    beard = male and d.chance("beard", 0.18)
    drawn = d.choice("expression", LABELLED_EXPRESSIONS, (2.6, 3.2, 1.1, 1.1, 1.1, 1.1, 1.1))
    occluded = d.chance("occluded", occluder_probability)
    occluder = d.choice("occluder", tuple(OCCLUDERS)) if occluded else "none"
    glasses = d.chance("glasses", 0.24) and occluder != "sunglasses"
    hat = d.chance("hat", 0.15)
    clothes_colour = _hue(d, "clothes_colour", 0.03, 0.75, 0.85)
    necktie = d.chance("necktie", 0.28 if male else 0.03)
    if occluder == "medical_mask":
        occluder_colour = d.choice("occluder_colour", _MASKS, (4, 2, 1.5, 1))
    else:
        occluder_colour = (0.012, 0.012, 0.016)
    background = _hue(d, "background", 0.08, 0.75, 0.55)
    mood = d.uniform("background.second", 0.35, 0.9)
    second = _hue(d, "background_second", 0.05, 0.6, 0.5)
    return FaceSpecification(
        male=male,
        age=age,
        skin_tone=tone,
        skin_warmth=d.normal("skin_warmth", 0.0, 0.5),
        face_width=d.normal("face_width", 0.0, 0.6),
        face_length=d.normal("face_length", 0.0, 0.6),
        jaw_width=d.normal("jaw_width", 0.0, 0.7),
        chin_length=d.normal("chin_length", 0.0, 0.6),
        cheek_fullness=d.normal("cheek_fullness", 0.0, 0.6),
        forehead=d.normal("forehead", 0.0, 0.6),
        eye_size=d.normal("eye_size", 0.0, 0.6),
        eye_spacing=d.normal("eye_spacing", 0.0, 0.6),
        eye_tilt=d.normal("eye_tilt", 0.0, 0.6),
        iris_colour=d.choice(
            "iris_colour", _IRISES, (2 + 2 * tone, 3, 1.2, 0.9 * (1.2 - tone), 2.2 * (1.1 - tone), 1 - tone)
        ),
        brow_height=d.normal("brow_height", 0.0, 0.6),
        brow_arch=d.normal("brow_arch", 0.0, 0.6),
        brow_weight=d.normal("brow_weight", 0.0, 0.5),
        nose_width=d.normal("nose_width", 0.0, 0.6),
        nose_length=d.normal("nose_length", 0.0, 0.6),
        mouth_width=d.normal("mouth_width", 0.0, 0.6),
        lip_fullness=d.normal("lip_fullness", 0.0, 0.6),
        ear_size=d.normal("ear_size", 0.0, 0.6),
        asymmetry=d.normal("asymmetry", 0.0, 0.6),
        texture_seed=d.bits("texture") & 0xFFFFFFFF,
        pale_skin=d.chance("pale_skin", 0.13),
        rosy_cheeks=d.chance("rosy_cheeks", 0.12 if male else 0.28),
        bushy_eyebrows=d.chance("bushy_eyebrows", 0.32 if male else 0.14),
        big_nose=d.chance("big_nose", 0.28 if male else 0.16),
        big_lips=d.chance("big_lips", 0.14 if male else 0.26),
        double_chin=d.chance("double_chin", 0.22 if old else 0.12),
        bald=bald,
        hair_colour=hair_colour,
        hair_shade=d.normal("hair_shade", 0.0, 0.55),
        hair_cut=hair_cut,
        wavy=d.chance("wavy", 0.5),
        bangs=d.chance("bangs", 0.12 if male else 0.34),
        hair_volume=d.normal("hair_volume", 0.0, 0.6),
        hair_part=d.uniform("hair_part", -1.0, 1.0),
        hair_length=d.normal("hair_length", 0.0, 0.6),
        mustache=mustache or beard,
        goatee=goatee and not beard,
        beard=beard,
        glasses=glasses,
        glasses_roundness=d.uniform("glasses_roundness"),
        glasses_colour=d.choice("glasses_colour", _FRAMES, (4, 2, 1, 1)),
        lipstick=not male and d.chance("lipstick", 0.45),
        lipstick_colour=d.choice("lipstick_colour", _LIPSTICKS, (4, 2, 2, 1)),
        earrings=d.chance("earrings", 0.05 if male else 0.45),
        earring_colour=d.choice(
            "earring_colour", ((0.95, 0.68, 0.16), (0.85, 0.87, 0.92), (0.03, 0.35, 0.42)), (4, 3, 1)
        ),
        hat=hat,
        hat_style=d.choice("hat_style", HAT_STYLES),
        hat_colour=_hue(d, "hat_colour", 0.05, 0.6, 0.95),
        necktie=necktie,
        necktie_colour=_hue(d, "necktie_colour", 0.04, 0.5, 1.0),
        clothes="jacket" if necktie else d.choice("clothes", CLOTHES, (4, 3, 3, 2)),
        clothes_colour=clothes_colour,
        expression=expression if expression is not None else drawn,
        expression_strength=d.uniform("expression_strength", 0.75, 1.0),
        mouth_open=d.chance("mouth_open", 0.55 if (expression or drawn) == "happiness" else 0.22),
        gaze=d.normal("gaze", 0.0, 0.4),
        yaw=d.normal("yaw", 0.0, 11.0),
        pitch=d.normal("pitch", 0.0, 5.0),
        roll=d.normal("roll", 0.0, 4.0),
        centre_x=d.normal("centre_x", 0.0, 0.025),
        centre_y=d.normal("centre_y", 0.0, 0.02),
        scale=d.normal("scale", 1.0, 0.035),
        occluder=occluder,
        occluder_colour=occluder_colour,
        occluder_x=d.uniform("occluder_x", -1.0, 1.0),
        occluder_y=d.uniform("occluder_y", -1.0, 1.0),
        occluder_angle=d.uniform("occluder_angle", -35.0, 35.0),
        occluder_tone=d.uniform("occluder_tone", 0.05, 0.95),
        light_azimuth=d.uniform("light_azimuth", -60.0, 60.0),
        light_elevation=d.uniform("light_elevation", 12.0, 55.0),
        light_strength=d.uniform("light_strength", 0.85, 1.15),
        light_warmth=d.normal("light_warmth", 0.0, 0.5),
        ambient=d.uniform("ambient", 0.32, 0.58),
        background_colour=background,
        background_second=tuple(mood * (0.6 * a + 0.4 * b) for a, b in zip(background, second, strict=True)),  # type: ignore[arg-type]
        background_angle=d.uniform("background_angle", 0.0, 360.0),
    )


def unusual_specification(specification: FaceSpecification, seed: int, index: int) -> FaceSpecification:
    """Face ``index`` of generator ``seed`` with one or two attributes set at random, whatever goes together.

    Three in ten already have what is drawn and stay as they are.

    A man with lipstick, a bald woman: what people wish for, and what nobody learns from faces alone in which beards
    make men. Sex stays, since the wishes are about what can be changed of a person.
    """
    d = Draws(seed ^ 0x756E7573, index)
    names = tuple(name for name in LABELLED_ATTRIBUTES if name != "Male")
    for number in range(1 + d.integer("second", 2)):
        name = names[d.integer(f"name.{number}", len(names))]
        specification = with_attribute(specification, name, d.chance(f"present.{number}", 0.7))
    return specification
