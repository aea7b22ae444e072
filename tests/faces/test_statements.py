"""What captions state, read off their words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptface.data.procedural import attributes, describe, sample_specification
from gptface.faces.statements import statements


@pytest.mark.parametrize(
    ("caption", "attributes", "expression"),
    [
        ("a sad woman with long wavy blond hair and no glasses", {"Blond_Hair": True, "Eyeglasses": False}, "sadness"),
        ("portrait of a man who has a bald head and wears eyeglasses", {"Bald": True, "Eyeglasses": True}, None),
        ("Man, a small beard on the chin, a hat", {"Goatee": True, "Wearing_Hat": True}, None),
        ("he has a full beard and no black hair", {"No_Beard": False, "Black_Hair": False}, None),
        ("a person with a look of surprise, very short gray hair", {"Gray_Hair": True}, "surprise"),
        ("a happy woman with a sad look", {}, None),  # two expressions are none
        ("the hatter of glassesville posted a picture", {}, None),
        ("a man wearing no eyeglasses, not wearing a hat", {"Eyeglasses": False, "Wearing_Hat": False}, None),
        ("a woman without glasses who is not happy", {"Eyeglasses": False}, None),
        ("a non-smiling man without a full beard", {}, None),
        ("no hat or glasses", {"Wearing_Hat": False}, None),  # of the glasses only grammar knows
        ("no hair on the chin, hair on the head", {"Bald": False}, None),
        ("a blonde woman with long grey hair", {"Gray_Hair": True}, None),
        ("", {}, None),
    ],
)
def test_words_to_statements(caption: str, attributes: dict[str, bool], expression: str | None) -> None:
    found = statements(caption)
    assert found.attributes == attributes
    assert found.expression == expression


@given(seed=st.integers(0, 2**31), index=st.integers(0, 10_000), detail=st.sampled_from([0.0, 1.0]))
def test_the_generators_own_captions_state_nothing_false(seed: int, index: int, detail: float) -> None:
    specification = sample_specification(seed, index)
    truth = attributes(specification)
    found = statements(describe(specification, seed, index, detail=detail))
    assert found.expression in (None, specification.expression)
    for name, stated in found.attributes.items():
        if name not in ("Straight_Hair", "Wavy_Hair"):  # curly is a cut, too
            assert stated == bool(truth[name]), name


def test_the_generators_captions_are_not_silent() -> None:
    found = [statements(describe(sample_specification(1, n), 1, n, detail=1.0)) for n in range(200)]
    assert sum(each.expression is not None for each in found) > 150
    colours = {"Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair"}
    assert sum(bool(colours & set(each.attributes)) for each in found) > 90
