"""CelebA's forty attributes of faces (Liu et al. 2015): where each is seen, how it is said, and what it excludes.

All forty can be wished for by name. The procedural faces show twenty-six of them, ``LABELLED_ATTRIBUTES``, so that only
those can be taught to a parser and asked of a judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptface.faces.areas import Area
from gptface.faces.names import find
from gptface.faces.regions import REGIONS

__all__ = ["ATTRIBUTES", "LABELLED_ATTRIBUTES", "Attribute", "attribute_area", "split_attribute"]


@dataclass(frozen=True)
class Attribute:
    """One attribute.

    Attributes:
        name: CelebA's own.
        area: where it is seen.
        present, absent: its wordings when it is there and when it is not, the plainest first: noun phrases that fit
            after "a person with".
        worn: whether the wordings of ``present`` fit after "a person wearing" as well.
        excludes: attributes that cannot be true of a face at the same time.
        absence_area: where taking it away shows, if elsewhere than ``area``.
    """

    name: str
    area: Area
    present: tuple[str, ...]
    absent: tuple[str, ...]
    worn: bool = False
    excludes: tuple[str, ...] = ()
    absence_area: Area | None = None


_NEW_HAIR = Area(("hair", "hat"), ("crown", "mane"), grow=0.04)
_HAIR = Area(("hair",), grow=0.07, otherwise=_NEW_HAIR)
_TEXTURE = Area(("hair",), ("mane",), grow=0.10, otherwise=_NEW_HAIR)
_BROWS = Area(("brows",), grow=0.06)
_JAW = Area(("skin", "neck"), ("jaw",), grow=0.04)
_WHOLE_FACE = Area(("skin", "brows", "eyes", "nose", "mouth"), grow=0.04)
_BEARD = Area(("mouth",), ("lower_face",))
_CHEEKS = Area((), ("cheeks",))
_SKIN = Area(("skin", "nose", "ears", "neck"), grow=0.02)

_COLOURS = ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")
_BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")


def _colour(word: str) -> Attribute:
    name = f"{word.capitalize()}_Hair"
    others = tuple(other for other in (*_COLOURS, "Bald") if other != name)
    return Attribute(name, _HAIR, (f"{word} hair",), (f"no {word} hair",), excludes=others)


# Their order is that of the labels and of a parser's outputs.
_LABELLED = (
    Attribute(
        "Male",
        Area(("skin", "brows", "eyes", "nose", "mouth", "hair", "ears", "neck"), grow=0.06),
        ("male features",),
        ("female features",),
    ),
    Attribute(
        "Young",
        Area(("skin", "brows", "eyes", "nose", "mouth", "hair"), grow=0.04),
        ("young skin", "a young face"),
        ("wrinkles", "an old face", "wrinkled skin"),
    ),
    Attribute(
        "Smiling",
        Area(("mouth", "eyes"), ("cheeks", "lower_face"), grow=0.06),
        ("a smile", "a happy smile", "a big smile"),
        ("no smile",),
    ),
    Attribute(
        "Mouth_Slightly_Open",
        Area(("mouth",), ("lower_face",)),
        ("an open mouth", "parted lips"),
        ("a closed mouth", "closed lips"),
    ),
    Attribute(
        "Eyeglasses",
        Area(("eyes", "brows", "glasses"), ("eye_band",), grow=0.03),
        ("glasses", "eyeglasses"),
        ("no glasses",),
        worn=True,
    ),
    _colour("black"),
    _colour("brown"),
    _colour("blond"),
    _colour("gray"),
    Attribute(
        "Bald",
        Area(("hair", "hat"), ("crown",), grow=0.05),
        ("a bald head", "no hair"),
        ("hair on the head",),
        excludes=(*_COLOURS, "Bangs", "Straight_Hair", "Wavy_Hair", "Wearing_Hat"),
        absence_area=_NEW_HAIR,
    ),
    Attribute(
        "Bangs",
        Area(("hair", "hat"), ("forehead",), grow=0.04),
        ("bangs", "bangs over the forehead"),
        ("no bangs", "a bare forehead"),
        excludes=("Bald", "Wearing_Hat"),
    ),
    Attribute("Straight_Hair", _TEXTURE, ("straight hair",), ("no straight hair",), excludes=("Wavy_Hair", "Bald")),
    Attribute(
        "Wavy_Hair", _TEXTURE, ("wavy hair", "curly hair"), ("no wavy hair",), excludes=("Straight_Hair", "Bald")
    ),
    Attribute(
        "Mustache",
        Area(("mouth",), ("mouth_area",), grow=0.06),
        ("a mustache",),
        ("no mustache",),
        excludes=("No_Beard",),
    ),
    Attribute("Goatee", _BEARD, ("a goatee", "a small beard on the chin"), ("no goatee",), excludes=("No_Beard",)),
    Attribute("No_Beard", _BEARD, ("no beard", "a shaved face"), ("a full beard", "a beard"), excludes=_BEARDS),
    Attribute("Bushy_Eyebrows", _BROWS, ("bushy eyebrows", "thick eyebrows"), ("thin eyebrows",)),
    Attribute("Pale_Skin", _SKIN, ("pale skin", "very pale skin"), ("skin that is not pale",)),
    Attribute("Rosy_Cheeks", _CHEEKS, ("rosy cheeks", "red cheeks"), ("no rosy cheeks",)),
    Attribute("Big_Nose", Area(("nose",), grow=0.09), ("a big nose", "a wide nose"), ("a small nose",)),
    Attribute("Big_Lips", Area(("mouth",), grow=0.07), ("big lips", "full lips"), ("thin lips",)),
    Attribute("Double_Chin", _JAW, ("a double chin",), ("no double chin",)),
    Attribute(
        "Wearing_Hat",
        Area(("hat", "hair"), ("crown",), grow=0.04),
        ("a hat",),
        ("no hat",),
        worn=True,
        excludes=("Bald", "Bangs"),
    ),
    Attribute(
        "Wearing_Lipstick",
        Area(("mouth",), grow=0.04),
        ("lipstick", "bright lipstick"),
        ("no lipstick",),
        worn=True,
    ),
    Attribute(
        "Wearing_Earrings",
        Area(("ears",), ("ear_sides",), grow=0.06),
        ("earrings", "a pair of earrings"),
        ("no earrings",),
        worn=True,
    ),
    Attribute("Wearing_Necktie", Area((), ("collar",)), ("a tie", "a necktie"), ("no tie",), worn=True),
)

# No generator here shows these; whether a system can draw one depends on the captions it was trained on.
_UNLABELLED = (
    Attribute("5_o_Clock_Shadow", _BEARD, ("stubble",), ("no stubble",), excludes=("No_Beard",)),
    Attribute("Arched_Eyebrows", _BROWS, ("arched eyebrows",), ("straight eyebrows",)),
    Attribute("Attractive", _WHOLE_FACE, ("attractive features",), ("plain features",)),
    Attribute("Bags_Under_Eyes", Area(("eyes",), grow=0.10), ("bags under the eyes",), ("no bags under the eyes",)),
    Attribute("Blurry", Area(REGIONS), ("blurred outlines",), ("sharp outlines",)),
    Attribute("Chubby", _JAW, ("chubby cheeks",), ("slim cheeks",)),
    Attribute("Heavy_Makeup", _WHOLE_FACE, ("heavy makeup",), ("no makeup",), worn=True),
    Attribute("High_Cheekbones", _CHEEKS, ("high cheekbones",), ("low cheekbones",)),
    Attribute("Narrow_Eyes", Area(("eyes",), grow=0.06), ("narrow eyes",), ("wide eyes",)),
    Attribute("Oval_Face", _JAW, ("an oval face",), ("an angular face",)),
    Attribute("Pointy_Nose", Area(("nose",), grow=0.06), ("a pointy nose",), ("a round nose",)),
    Attribute("Receding_Hairline", Area(("hair",), ("forehead",)), ("a receding hairline",), ("a low hairline",)),
    Attribute("Sideburns", Area((), ("ear_sides",)), ("sideburns",), ("no sideburns",), excludes=("No_Beard",)),
    Attribute("Wearing_Necklace", Area(("neck",), ("collar",)), ("a necklace",), ("no necklace",), worn=True),
)

ATTRIBUTES: dict[str, Attribute] = {attribute.name: attribute for attribute in (*_LABELLED, *_UNLABELLED)}
"""All forty by name."""

LABELLED_ATTRIBUTES: tuple[str, ...] = tuple(attribute.name for attribute in _LABELLED)
"""Those that the procedural faces show, in the order of labels and of a parser's outputs."""


def split_attribute(wish: str) -> tuple[str, bool]:
    """``"no Eyeglasses"`` to ``("Eyeglasses", False)``, ``"Eyeglasses"`` to ``("Eyeglasses", True)``.

    Raises:
        InputError: not one of CelebA's attributes; the sentence names the nearest ones.
    """
    name, wanted = (wish[3:].strip(), False) if wish[:3].lower() == "no " else (wish, True)
    return find("attribute", name, ATTRIBUTES).name, wanted


def attribute_area(wish: str) -> Area:
    """Where an attribute is seen, or, for ``"no NAME"``, where its absence is; errors as in :func:`split_attribute`."""
    name, wanted = split_attribute(wish)
    attribute = ATTRIBUTES[name]
    return attribute.area if wanted or attribute.absence_area is None else attribute.absence_area
