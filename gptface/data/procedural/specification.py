"""What a face is: every visible fact of a procedural face, explicit and immutable.

``dataclasses.replace(specification, ...)`` is the same face with one thing changed; ``with_attribute`` does so under
CelebA's attribute names and keeps the combination possible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gptface.errors import InputError
from gptface.faces.attributes import ATTRIBUTES, LABELLED_ATTRIBUTES
from gptface.faces.expressions import LABELLED_EXPRESSIONS
from gptface.faces.names import find
from gptface.faces.occluders import OCCLUDERS

__all__ = [
    "CLOTHES",
    "HAIR_COLOURS",
    "HAIR_CUTS",
    "HAT_STYLES",
    "FaceSpecification",
    "attributes",
    "hidden_attributes",
    "with_attribute",
]

HAIR_COLOURS = ("black", "brown", "blond", "gray")
HAIR_CUTS = ("crop", "short", "curly", "updo", "bob", "long")
HAT_STYLES = ("beanie", "cap", "brimmed")
CLOTHES = ("crew", "v_neck", "shirt", "jacket")

_LONG_CUTS = ("bob", "long")
_ALWAYS_OPEN = ("surprise", "fear")  # these two are not recognisable with closed lips
_COLOUR_OF = {"Black_Hair": "black", "Brown_Hair": "brown", "Blond_Hair": "blond", "Gray_Hair": "gray"}

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class FaceSpecification:
    """Everything that decides the picture.

    Lengths are relative (0 average, about ±1 the usual range), angles in degrees, colours linear RGB in [0, 1]; left
    and right are the image's.

    Raises:
        InputError: a name (expression, occluder, hair and clothes) outside its list.
    """

    # Identity
    male: bool = False
    age: float = 0.25  # 0 twenty, 1 eighty; young below 0.5
    skin_tone: float = 0.35  # 0 lightest, 1 darkest
    skin_warmth: float = 0.0  # -1 rosier, 1 more golden
    face_width: float = 0.0
    face_length: float = 0.0
    jaw_width: float = 0.0
    chin_length: float = 0.0
    cheek_fullness: float = 0.0
    forehead: float = 0.0  # height of the hairline
    eye_size: float = 0.0
    eye_spacing: float = 0.0
    eye_tilt: float = 0.0
    iris_colour: Colour = (0.10, 0.05, 0.02)
    brow_height: float = 0.0
    brow_arch: float = 0.0
    brow_weight: float = 0.0
    nose_width: float = 0.0
    nose_length: float = 0.0
    mouth_width: float = 0.0
    lip_fullness: float = 0.0
    ear_size: float = 0.0
    asymmetry: float = 0.0
    texture_seed: int = 0  # 32 bits: strands, skin mottling, cloth

    # Features that are there or not
    pale_skin: bool = False
    rosy_cheeks: bool = False
    bushy_eyebrows: bool = False
    big_nose: bool = False
    big_lips: bool = False
    double_chin: bool = False

    # Hair
    bald: bool = False
    hair_colour: str = "brown"
    hair_shade: float = 0.0  # -1 darker, 1 lighter within its class
    hair_cut: str = "short"
    wavy: bool = False  # bob and long only; curly hair always counts as wavy
    bangs: bool = False
    hair_volume: float = 0.0
    hair_part: float = 0.0  # -1 left, 0 middle, 1 right
    hair_length: float = 0.0

    # Facial hair
    mustache: bool = False
    goatee: bool = False
    beard: bool = False

    # Worn things
    glasses: bool = False
    glasses_roundness: float = 0.5  # 0 rectangular, 1 round
    glasses_colour: Colour = (0.02, 0.02, 0.02)
    lipstick: bool = False
    lipstick_colour: Colour = (0.45, 0.02, 0.05)
    earrings: bool = False
    earring_colour: Colour = (0.85, 0.65, 0.2)
    hat: bool = False
    hat_style: str = "beanie"
    hat_colour: Colour = (0.3, 0.05, 0.05)
    necktie: bool = False
    necktie_colour: Colour = (0.35, 0.02, 0.03)
    clothes: str = "crew"
    clothes_colour: Colour = (0.1, 0.15, 0.3)

    # State
    expression: str = "neutral"
    expression_strength: float = 1.0  # 0.7 … 1
    mouth_open: bool = False  # parted lips; surprise and fear always are
    gaze: float = 0.0  # -1 left, 1 right
    yaw: float = 0.0  # positive turns the nose to the right of the image
    pitch: float = 0.0  # positive looks up
    roll: float = 0.0  # positive is clockwise
    centre_x: float = 0.0  # shift of the head, image halves
    centre_y: float = 0.0
    scale: float = 1.0

    # Occluder
    occluder: str = "none"
    occluder_colour: Colour = (0.35, 0.6, 0.75)  # medical mask and sunglasses' lenses
    occluder_x: float = 0.0  # hand: where on the face, -1 … 1
    occluder_y: float = 0.0
    occluder_angle: float = 0.0  # hand: degrees
    occluder_tone: float = 0.35  # hand: its skin tone

    # Scene
    light_azimuth: float = 30.0  # degrees, positive from the right of the image
    light_elevation: float = 35.0
    light_strength: float = 1.0
    light_warmth: float = 0.0  # -1 bluish, 1 orange
    ambient: float = 0.4
    background_colour: Colour = (0.3, 0.35, 0.4)
    background_second: Colour = (0.15, 0.18, 0.22)
    background_angle: float = 90.0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("expression", LABELLED_EXPRESSIONS),
            ("occluder", ("none", *OCCLUDERS)),
            ("hair_colour", HAIR_COLOURS),
            ("hair_cut", HAIR_CUTS),
            ("hat_style", HAT_STYLES),
            ("clothes", CLOTHES),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")

    @property
    def lips_parted(self) -> bool:
        """Whether teeth or the inside of the mouth are seen."""
        return self.mouth_open or self.expression in _ALWAYS_OPEN


def attributes(specification: FaceSpecification) -> dict[str, int]:
    """{name: 0 or 1} for every name of ``LABELLED_ATTRIBUTES``, in that order.

    What an occluder covers counts as it is underneath (see ``hidden_attributes``); what a hat hides for good (a bald
    head, bangs, cropped hair) counts as absent, as CelebA's annotators would say.
    """
    s = specification
    head_seen = not s.hat
    hair = not s.bald and (head_seen or s.hair_cut not in ("crop", "updo"))
    values = {
        "Male": s.male,
        "Young": s.age < 0.5,
        "Smiling": s.expression == "happiness",
        "Mouth_Slightly_Open": s.lips_parted,
        "Eyeglasses": s.glasses,
        **{name: hair and s.hair_colour == colour for name, colour in _COLOUR_OF.items()},
        "Bald": s.bald and head_seen,
        "Bangs": hair and head_seen and s.bangs,
        "Straight_Hair": hair and s.hair_cut in _LONG_CUTS and not s.wavy,
        "Wavy_Hair": hair and (s.hair_cut == "curly" or (s.hair_cut in _LONG_CUTS and s.wavy)),
        "Mustache": s.mustache or s.beard,
        "Goatee": s.goatee and not s.beard,
        "No_Beard": not (s.mustache or s.goatee or s.beard),
        "Bushy_Eyebrows": s.bushy_eyebrows,
        "Pale_Skin": s.pale_skin,
        "Rosy_Cheeks": s.rosy_cheeks,
        "Big_Nose": s.big_nose,
        "Big_Lips": s.big_lips,
        "Double_Chin": s.double_chin,
        "Wearing_Hat": s.hat,
        "Wearing_Lipstick": s.lipstick,
        "Wearing_Earrings": s.earrings,
        "Wearing_Necktie": s.necktie,
    }
    return {name: int(values[name]) for name in LABELLED_ATTRIBUTES}


def hidden_attributes(specification: FaceSpecification) -> frozenset[str]:
    """Attributes whose truth the occluder keeps from being seen."""
    occluder = OCCLUDERS.get(specification.occluder)
    return frozenset() if occluder is None else occluder.hides


def with_attribute(specification: FaceSpecification, name: str, value: bool | int) -> FaceSpecification:
    """The same face with one attribute set, and only what then becomes impossible changed with it.

    Identity, pose, light and every other attribute stay, except: hair (a colour, bangs, a texture) ends baldness;
    bangs, baldness and hair that a hat would hide take the hat off; a texture that the cut cannot show picks a cut
    that can; a full beard gives way to a goatee; a smile is the expression happiness, and its absence neutral; closing
    the lips of surprise or fear makes the expression neutral; a colour switched off becomes brown (black, if it was
    brown); wavy hair switched off is straight, and the other way round.

    Raises:
        InputError: ``name`` is not one of ``LABELLED_ATTRIBUTES``.
    """
    s, on = specification, bool(value)
    find("attribute", name, ATTRIBUTES)
    if name not in LABELLED_ATTRIBUTES:
        raise InputError(f"attribute {name!r} is none that procedural faces show: {', '.join(LABELLED_ATTRIBUTES)}")
    if bool(attributes(s)[name]) == on:
        return s
    if name in _COLOUR_OF:
        if not on:
            return replace(s, hair_colour="black" if s.hair_colour == "brown" else "brown")
        return _show_hair(replace(s, hair_colour=_COLOUR_OF[name]))
    if name == "Male":
        return replace(s, male=True) if on else replace(s, male=False, mustache=False, goatee=False, beard=False)
    if name == "Young":
        return replace(s, age=min(1.0 - s.age, 0.4) if on else max(1.0 - s.age, 0.6))
    if name == "Smiling":
        return replace(s, expression="happiness" if on else "neutral")
    if name == "Mouth_Slightly_Open":
        if on:
            return replace(s, mouth_open=True)
        return replace(s, mouth_open=False, expression="neutral" if s.expression in _ALWAYS_OPEN else s.expression)
    if name == "Bald":
        return replace(s, bald=True, hat=False) if on else replace(s, bald=False)
    if name == "Bangs":
        return replace(_show_hair(s), bangs=True, hat=False) if on else replace(s, bangs=False)
    if name == "Wavy_Hair":
        if s.hair_cut in _LONG_CUTS:
            return replace(_show_hair(s), wavy=on)
        return _show_hair(replace(s, hair_cut="curly")) if on else replace(s, hair_cut="short")
    if name == "Straight_Hair":
        if not on:
            return replace(s, wavy=True)
        return replace(_show_hair(s), wavy=False, hair_cut=s.hair_cut if s.hair_cut in _LONG_CUTS else "bob")
    if name == "Mustache":
        return replace(s, mustache=True) if on else replace(s, mustache=False, beard=False)
    if name == "Goatee":
        return replace(s, goatee=on, beard=False)
    if name == "No_Beard":
        return replace(s, mustache=False, goatee=False, beard=False) if on else replace(s, beard=True, mustache=True)
    simple = {
        "Eyeglasses": "glasses",
        "Bushy_Eyebrows": "bushy_eyebrows",
        "Pale_Skin": "pale_skin",
        "Rosy_Cheeks": "rosy_cheeks",
        "Big_Nose": "big_nose",
        "Big_Lips": "big_lips",
        "Double_Chin": "double_chin",
        "Wearing_Hat": "hat",
        "Wearing_Lipstick": "lipstick",
        "Wearing_Earrings": "earrings",
        "Wearing_Necktie": "necktie",
    }
    changed: dict[str, bool] = {simple[name]: on}
    return replace(s, **changed)  # type: ignore[arg-type]


def _show_hair(specification: FaceSpecification) -> FaceSpecification:
    """The same face with its hair to be seen."""
    hidden = specification.hat and specification.hair_cut in ("crop", "updo")
    return replace(specification, bald=False, hat=specification.hat and not hidden)
