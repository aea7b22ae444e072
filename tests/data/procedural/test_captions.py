"""Captions of procedural faces: true where they speak of the face, and only as often as they should."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from gptface.data.procedural import (
    attributes,
    describe,
    hidden_attributes,
    sample_specification,
    wish_caption,
    with_attribute,
)
from gptface.data.procedural.captions import UNINFORMATIVE_CAPTIONS
from gptface.errors import InputError
from gptface.faces.attributes import ATTRIBUTES, LABELLED_ATTRIBUTES
from gptface.faces.expressions import EXPRESSIONS
from gptface.faces.occluders import OCCLUDERS

COUNT = 1500


def faces(seed: int = 0, count: int = COUNT) -> list:
    return [sample_specification(seed, index) for index in range(count)]


def says(caption: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", caption) is not None


def test_captions_are_short_and_of_few_words() -> None:
    words: Counter[str] = Counter()
    captions = [describe(s, 0, index, correlation=0.7) for index, s in enumerate(faces())]
    for caption in captions:
        parts = re.findall(r"[a-z]+", caption)
        assert 8 <= len(caption.split()) <= 22, caption
        assert caption == caption.lower() and re.fullmatch(r"[a-z, ]+", caption), caption
        words.update(parts)
    assert len(words) <= 400
    assert len(set(captions)) > 0.8 * COUNT


def test_a_correlated_caption_says_nothing_untrue_or_hidden() -> None:
    opposites = {
        "glasses": "Eyeglasses", "eyeglasses": "Eyeglasses", "a hat": "Wearing_Hat", "black hair": "Black_Hair",
        "blond hair": "Blond_Hair", "brown hair": "Brown_Hair", "gray hair": "Gray_Hair", "a mustache": "Mustache",
        "a goatee": "Goatee", "lipstick": "Wearing_Lipstick", "earrings": "Wearing_Earrings", "bangs": "Bangs",
        "a double chin": "Double_Chin", "rosy cheeks": "Rosy_Cheeks", "a necktie": "Wearing_Necktie", "man": "Male",
        "he": "Male", "young": "Young", "smiling": "Smiling", "wavy": "Wavy_Hair", "straight": "Straight_Hair",
    }  # fmt: skip
    said: Counter[str] = Counter()
    for index, s in enumerate(faces()):
        caption = describe(s, 0, index)
        known, hidden = attributes(s), hidden_attributes(s)
        for phrase, name in opposites.items():
            denied = says(caption, "no " + phrase.removeprefix("a "))
            if denied:
                assert not known[name], (caption, name)
            elif says(caption, phrase):
                assert known[name], (caption, name)
                said[name] += 1
            if name in hidden and name != "Smiling":
                assert not says(caption, phrase), (caption, name)
        for expression, words in EXPRESSIONS.items():
            for phrase in words.adjectives:
                assert not says(caption, phrase) or s.expression == expression, caption
        for name, occluder in OCCLUDERS.items():
            if any(says(caption, phrase) for phrase in occluder.things + occluder.clauses):
                assert s.occluder == name, caption
    assert all(said[name] > 10 for name in set(opposites.values())), said


def test_captions_mention_several_facts_and_different_ones() -> None:
    s = replace(sample_specification(0, 6), occluder="none")
    captions = {describe(s, 0, index) for index in range(300)}
    assert len(captions) > 200
    found = sum(says(caption, "hair") for caption in captions)
    assert 0.3 < found / len(captions) < 0.98


def test_detailed_captions_say_more_within_the_same_length() -> None:
    few, many = (
        [len(describe(s, 0, index, detail=detail).split()) for index, s in enumerate(faces())] for detail in (0.0, 1.0)
    )
    assert max(many) <= 22
    assert sum(many) > 1.2 * sum(few)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8, 1.0])
def test_the_correlation_is_the_share_of_captions_that_speak_of_their_face(correlation: float) -> None:
    honest = nothing = 0
    for index, s in enumerate(faces()):
        caption = describe(s, 0, index, correlation)
        honest += caption == describe(s, 0, index, 1.0)
        nothing += caption in UNINFORMATIVE_CAPTIONS
    assert abs(honest / COUNT - correlation) < 0.035  # three deviations of a share of 1500 at most
    assert abs(nothing / COUNT - (1 - correlation) / 2) < 0.035


def test_a_wish_states_the_change() -> None:
    for index in range(60):
        s = replace(sample_specification(3, index), occluder="none", hat=False)
        caption = wish_caption(s)
        assert len(caption.split()) <= 22 and caption == wish_caption(s)
        for name in LABELLED_ATTRIBUTES:
            value = 1 - attributes(s)[name]
            changed = with_attribute(s, name, value)
            wish = wish_caption(changed, focus=(name,))
            phrases = ATTRIBUTES[name].present if value else ATTRIBUTES[name].absent
            if name in ("Male", "Young"):
                assert wish != wish_caption(s, focus=(name,))
            elif name == "Smiling" or (value == 0 and name.endswith("_Hair")):
                continue  # said by the expression, or by the colour and texture that took its place
            elif name.endswith("_Hair"):
                assert says(wish, name.removesuffix("_Hair").lower()) or "curly" in wish, (name, wish)
            else:
                assert any(says(wish, phrase) for phrase in phrases), (name, value, wish)


def test_a_wish_for_less_of_some_hair_is_said_where_no_other_hair_says_it() -> None:
    assert "no black hair" in wish_caption({"Male": 1, "Black_Hair": 0}, focus=("Black_Hair",))
    assert "no wavy hair" in wish_caption({"Wavy_Hair": 0, "Blond_Hair": 1}, focus=("Wavy_Hair",))
    for others in ({"Blond_Hair": 1}, {"Bald": 1}):
        assert "black" not in wish_caption({"Male": 1, "Black_Hair": 0, **others}, focus=("Black_Hair",))


def test_a_wish_from_attributes_alone() -> None:
    wish = wish_caption({"Male": 0, "Young": 1, "Blond_Hair": 1, "Eyeglasses": 1}, expression="happiness")
    assert wish == "a smiling young woman with blond hair wearing glasses" or (
        "blond hair" in wish and "glasses" in wish
    )
    assert "mask" in wish_caption({"Male": 1}, occluder="medical_mask")
    assert "no glasses" in wish_caption({"Male": 1, "Eyeglasses": 0}, focus=("Eyeglasses",))
    unseen = wish_caption({"Male": 1, "Oval_Face": 1, "Heavy_Makeup": 1}, "contempt")  # by the generator, that is
    assert unseen == "a scornful man with an oval face and heavy makeup"
    with pytest.raises(InputError, match="attribute"):
        wish_caption({"Tall": 1})
    with pytest.raises(InputError, match="expression"):
        wish_caption({"Male": 1}, expression="boredom")
    with pytest.raises(InputError, match="occluder"):
        wish_caption({"Male": 1}, occluder="scarf")
