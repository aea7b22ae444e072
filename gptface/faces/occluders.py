"""What may cover a face: how it is said, and which attributes nobody can see behind it."""

from __future__ import annotations

from dataclasses import dataclass

from gptface.faces.areas import Area

__all__ = ["OCCLUDERS", "OCCLUDER_AREA", "Occluder"]


@dataclass(frozen=True)
class Occluder:
    """One kind of occluder.

    Attributes:
        things: wordings of what is worn, which fit after "a person wearing"; none for a hand.
        clauses: wordings as a clause of its own.
        hides: attributes that are true or false underneath and cannot be seen.
    """

    things: tuple[str, ...]
    clauses: tuple[str, ...]
    hides: frozenset[str]


OCCLUDERS: dict[str, Occluder] = {
    "medical_mask": Occluder(
        ("a face mask", "a medical mask"),
        ("a mask covers the mouth", "a medical mask covers the lower face"),
        frozenset(
            (
                *("Smiling", "Mouth_Slightly_Open", "Wearing_Lipstick", "Big_Lips"),
                *("Mustache", "Goatee", "No_Beard", "Big_Nose", "Rosy_Cheeks", "Double_Chin"),
            )
        ),
    ),
    "sunglasses": Occluder(
        ("sunglasses", "dark sunglasses"),
        ("sunglasses hide the eyes", "dark sunglasses cover the eyes"),
        frozenset(("Eyeglasses",)),
    ),
    "hand": Occluder(
        (),
        ("a hand covers the mouth", "a hand is in front of the face", "a hand hides part of the face"),
        frozenset(("Mouth_Slightly_Open", "Mustache", "Goatee", "Wearing_Lipstick", "Big_Lips", "Rosy_Cheeks")),
    ),
}
"""By name; a face without one has the occluder ``"none"``."""

OCCLUDER_AREA = Area(("occluder",), grow=0.06)
"""Where any of them is seen."""
