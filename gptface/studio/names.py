"""Names of the vocabulary as people read them, in the order of menus."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gptface.faces.areas import ZONES
from gptface.faces.attributes import ATTRIBUTES
from gptface.faces.expressions import EXPRESSIONS
from gptface.faces.regions import REGIONS

__all__ = ["attribute_choices", "expression_choices", "readable", "readable_shape", "region_choices"]

_SPECIAL = {"5_o_Clock_Shadow": "5 o’clock shadow"}
# What is brushed or found as such is no place for a wish.
_NO_PLACES = ("background", "occluder")


def readable(name: str) -> str:
    """``Blond_Hair`` as “Blond hair”."""
    return _SPECIAL.get(name, name.replace("_", " ").capitalize())


def readable_shape(name: str) -> str:
    """``mouthSmile_L`` as “Mouth smile, left”: the person’s own left."""
    base, _, side = name.rpartition("_")
    sides = {"L": ", left", "R": ", right"}
    words = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", base if side in sides else name).replace("_", " ").lower()
    return words.capitalize() + sides.get(side, "")


def attribute_choices(known: Iterable[str] = ()) -> list[tuple[str, str]]:
    """(label, name) of CelebA's forty attributes: those in ``known`` first, each part by the alphabet."""
    first = set(known)
    names = sorted(ATTRIBUTES, key=lambda name: (name not in first, readable(name)))
    return [(readable(name), name) for name in names]


def expression_choices() -> list[tuple[str, str]]:
    return [(readable(name), name) for name in EXPRESSIONS]


def region_choices() -> list[tuple[str, str]]:
    """(label, name) of all regions, then of all zones, which are parts placed by the face's box."""
    regions = [(readable(name), name) for name in REGIONS if name not in _NO_PLACES]
    return regions + [(f"{readable(name)} (area)", name) for name in ZONES]
