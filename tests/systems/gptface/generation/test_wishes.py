"""From a wish by name to the caption of the whole face."""

from __future__ import annotations

import pytest

from gptface.data.procedural import wish_caption
from gptface.errors import InputError
from gptface.systems.gptface.generation.wishes import attribute_wish, expression_wish, plain_caption


def test_a_wish_keeps_the_face_and_drops_what_it_excludes() -> None:
    seen = {"Male": 1, "Black_Hair": 1, "Bald": 0, "Eyeglasses": 1}
    facts = attribute_wish("Blond_Hair", seen, "neutral")
    assert facts[0] == {"Male": 1, "Black_Hair": 0, "Bald": 0, "Eyeglasses": 1, "Blond_Hair": 1}
    caption = wish_caption(*facts)
    assert "blond hair" in caption and "man" in caption and "black" not in caption
    assert "no glasses" in wish_caption(*attribute_wish("no Eyeglasses", seen, None))
    assert attribute_wish("Smiling", seen, "sadness")[1] == "happiness"
    assert expression_wish("anger", {"Smiling": 1, "Male": 0}) == ({"Male": 0}, "anger", [])
    assert plain_caption(*attribute_wish("no Wearing_Hat", {}, None)) == "a person with no hat"
    assert (
        plain_caption(*attribute_wish("no No_Beard", {}, "anger"))
        == "a person with an angry expression and a full beard"
    )
    assert plain_caption(*expression_wish("contempt", {"Smiling": 1})) == "a person with a contemptuous expression"
    assert plain_caption(*attribute_wish("Smiling", {}, None)) == "a person with a smile"
    assert plain_caption({}, "an expression of one's own parser", []) == "a person"


def test_an_unknown_wish_is_refused() -> None:
    with pytest.raises(InputError, match="Eyeglasses"):
        attribute_wish("no Glasses", {}, None)
    with pytest.raises(InputError, match="happiness"):
        expression_wish("happy", {})
