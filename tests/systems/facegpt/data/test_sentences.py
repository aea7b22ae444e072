"""Sentences mean what they say, are English, and keep what is held out apart."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data.procedural.randomness import Draws
from gptface.errors import InputError
from gptface.morphable import MorphableModel, load_morphable_model
from gptface.systems.facegpt.data.emotions import EMOTIONS, emotion_shapes
from gptface.systems.facegpt.data.movement import LEVELS, usable_shapes
from gptface.systems.facegpt.data.movements import MOVEMENTS
from gptface.systems.facegpt.data.sentences import (
    HELD_OUT_TEMPLATES,
    TEMPLATES,
    Sentence,
    Sentences,
    held_out_combination,
    opposite_shapes,
)
from gptface.systems.facegpt.data.traits import TRAIT_LEVELS, TRAITS, TraitDirections
from gptface.systems.facegpt.data.wording import Item, gerund, joined, phrases, polished

# Names of the ICT Face Model's 57 shapes; those of Anny's 52 differ where ARKit has one shape for both sides.
SIDED = (
    *("PupilDilate", "browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekRaiser", "cheekSquint", "eyeBlink"),
    *("eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown"),
    *("mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer"),
)
WHOLE = (
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft", "mouthPucker"),
    *("mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
)
ICT = frozenset((*(f"{name}_{side}" for name in SIDED for side in "LR"), *WHOLE))
ARKIT = frozenset(
    (
        *(name for name in ICT if not name.startswith(("PupilDilate", "cheekRaiser", "browInnerUp", "cheekPuff"))),
        *("browInnerUp", "cheekPuff", "tongueOut"),
    )
)


def small_model(names: frozenset[str] = ICT, kind: str = "blendshape", modes: int = 3) -> MorphableModel:
    points = torch.rand(80, 3, generator=torch.Generator().manual_seed(0)) * 10
    return MorphableModel(
        points,
        torch.arange(78).view(26, 3),
        identity_basis=torch.randn(modes, 80, 3, generator=torch.Generator().manual_seed(1)),
        expression_basis=torch.zeros(len(names), 80, 3),
        expression_names=sorted(names),
        landmarks=torch.arange(68),
        expression_kind=kind,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def training() -> Sentences:
    return Sentences(small_model(), seed=5)


@pytest.fixture(scope="module")
def held_out() -> Sentences:
    return Sentences(small_model(), seed=5, held_out=True)


def check_english(text: str) -> None:
    assert text and text[-1] not in ", " and not re.search(r"[{}]|\s\s|\s[.,]|\.\.|,,", text)
    assert not re.search(r"\b(not|no|without|never|un)\b", text)
    assert not re.search(r"\b(\w+) \1\b", text), text
    assert not re.search(r"\ba [aeiou](?!ne)|\ban [^aeiou]|\ba a\b|\bmore than\b", text), text


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**50), st.booleans())
def test_a_sentence_is_english_and_within_the_models_shapes(
    training: Sentences, held_out: Sentences, number: int, apart: bool
) -> None:
    sentence = (held_out if apart else training).sentence(number)
    check_english(sentence.text)
    assert sentence.shapes.keys() <= ICT and all(0 < weight <= 1 for weight in sentence.shapes.values())
    assert sentence.attributes.keys() <= TRAITS.keys()
    assert 1 <= len(sentence.items) <= 4
    assert not opposite_shapes(sentence.items, ICT) & sentence.shapes.keys()
    said = [MOVEMENTS[item.name] for item in sentence.items if item.kind == "movement"]
    assert not any(one.uses & other.uses for one, other in itertools.combinations(said, 2))
    assert sentence == (held_out if apart else training).sentence(number)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**50))
def test_held_out_sentences_are_never_in_training(training: Sentences, held_out: Sentences, number: int) -> None:
    seen, unseen = training.sentence(number), held_out.sentence(number)
    assert not held_out_combination(seen.items) and seen.template not in HELD_OUT_TEMPLATES
    if len(unseen.items) == 1:
        assert unseen.template in HELD_OUT_TEMPLATES
    else:
        assert held_out_combination(unseen.items)


def test_every_movement_and_emotion_is_said_in_every_degree_and_template() -> None:
    sentences = Sentences(small_model())
    assert len(sentences.movements) == len(MOVEMENTS) and len(sentences.emotions) == len(EMOTIONS)
    items = [Item("movement", name, level) for name in MOVEMENTS for level in LEVELS]
    items += [Item("emotion", name, level) for name in EMOTIONS for level in LEVELS]
    items += [Item("trait", name, level, less) for name in TRAITS for level in LEVELS for less in (False, True)]
    for number, item in enumerate(items):
        for template in TEMPLATES:
            other = () if number % 2 or item.name == "chin length" else (Item("trait", "chin length"),)
            check_english(sentences.said(Draws(2, number), (item, *other), [template]).text)


def test_all_templates_are_used_and_texts_vary(training: Sentences, held_out: Sentences) -> None:
    drawn = [training.sentence(number) for number in range(1500)]
    assert len({sentence.text for sentence in drawn}) > 1400
    assert {sentence.template for sentence in drawn} == set(TEMPLATES) - set(HELD_OUT_TEMPLATES)
    assert {held_out.sentence(number).template for number in range(1500)} >= set(HELD_OUT_TEMPLATES)
    assert {item.name for sentence in drawn for item in sentence.items} == {*MOVEMENTS, *EMOTIONS, *TRAITS}


@pytest.mark.parametrize("names", [ICT, ARKIT])
def test_degrees_order_the_weights(names: frozenset[str]) -> None:
    sentences = Sentences(small_model(names))
    for name in sentences.movements:
        totals = [sum(sentences.meaning([Item("movement", name, level)])[0].values()) for level in LEVELS]
        assert totals == sorted(totals) and totals[0] > 0
    for name, emotion in EMOTIONS.items():
        totals = [sum(emotion_shapes(emotion, names, level).values()) for level in LEVELS]
        assert totals == sorted(totals) and (totals[0] > 0) == (name != "neutral")


def test_left_and_right_mirror_each_other() -> None:
    for name, movement in MOVEMENTS.items():
        if " left" not in name and not name.endswith("left"):
            continue
        mirrored = MOVEMENTS[name.replace("left", "right")]
        swap = {"_L": "_R", "_R": "_L"}
        shapes = usable_shapes(movement, ICT)
        assert shapes is not None
        expected = {
            shape[:-2] + swap[shape[-2:]] if shape[-2:] in swap else shape.replace("Left", "Right"): weight
            for shape, weight in shapes.items()
        }
        assert usable_shapes(mirrored, ICT) == expected
        assert [noun.replace("left", "right") for noun in movement.nouns] == list(mirrored.nouns)


def test_opposites() -> None:
    smile = opposite_shapes([Item("movement", "smile")], ICT)
    assert smile == {"mouthFrown_L", "mouthFrown_R"}
    assert "eyeBlink_L" in opposite_shapes([Item("movement", "wink on the right")], ICT)
    surprise = opposite_shapes([Item("emotion", "surprise")], ICT)
    assert {"browDown_L", "eyeBlink_R", "eyeSquint_L"} <= surprise and "jawOpen" not in surprise
    assert opposite_shapes([Item("trait", "nose width")], ICT) == set()


def test_a_conversation_asks_for_what_the_sentence_says(training: Sentences) -> None:
    for number in range(30):
        sentence, conversation = training.sentence(number), training.conversation(number)
        assert conversation.faces == 1 and not conversation.image
        assert conversation.shapes == sentence.shapes and conversation.attributes == sentence.attributes
        assert sentence.text.rstrip(".").lower() in conversation.turns[0].text.lower()


def test_a_gaussian_model_has_traits_alone() -> None:
    sentences = Sentences(small_model(kind="gaussian"))
    drawn = [sentences.sentence(number) for number in range(50)]
    assert all(not sentence.shapes and sentence.attributes for sentence in drawn)


def test_a_model_whose_shapes_have_no_names_is_refused() -> None:
    with pytest.raises(InputError, match="no shape of it has a name"):
        Sentences(small_model(frozenset(("a", "b"))), traits=False)


# Traits --------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(TRAITS)), st.floats(-3, 3), max_size=4))
def test_traits_of_named_shapes_are_set_and_measured(attributes: dict[str, float]) -> None:
    directions = TraitDirections(_synthetic())
    weights = directions.weights(attributes)
    found = dict(zip(directions.names, directions.measure(weights[None])[0].tolist(), strict=True))
    for name in TRAITS:
        assert found[name] == pytest.approx(attributes.get(name, 0.0), abs=1e-5)


_MODELS: dict[str, MorphableModel] = {}


def _synthetic() -> MorphableModel:
    if not _MODELS:
        _MODELS["synthetic"] = load_morphable_model("synthetic")
    return _MODELS["synthetic"]


def test_measured_traits_change_the_measure_by_standard_deviations() -> None:
    named = _synthetic()
    unnamed = MorphableModel(
        named.mean,
        named.triangles,
        identity_basis=named.identity_basis,
        landmarks=named.landmark_vertices,
        landmark_weights=named.landmark_weights,
    )
    directions = TraitDirections(unnamed)
    assert set(directions.names) == set(TRAITS)
    torch.testing.assert_close(directions.directions.norm(dim=1), torch.ones(len(TRAITS)))
    weights = torch.randn(4000, len(unnamed.identity_names), generator=torch.Generator().manual_seed(0))
    assert (directions.measure(weights).std(0) - 1).abs().max() < 0.05
    # The nose of a head asked to be wide is wider, the mouth of one asked to be narrow narrower.
    head = directions.weights({"nose width": 2.0, "mouth width": -2.0})
    marks = unnamed.landmarks(unnamed(head[None], None))[0]
    rest = unnamed.landmarks(unnamed.mean[None])[0]
    for name, sign in (("nose width", 1), ("mouth width", -1)):
        assert sign * float(TRAITS[name].measure(marks) - TRAITS[name].measure(rest)) > 0.1


def test_an_unknown_trait_is_named() -> None:
    with pytest.raises(InputError, match="nearest are"):
        TraitDirections(_synthetic()).weights({"nose widht": 1.0})


def test_trait_levels_are_ordered() -> None:
    assert TRAIT_LEVELS["slight"] < TRAIT_LEVELS[""] < TRAIT_LEVELS["strong"]


# Grammar -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("opens the mouth", "opening the mouth"),
        ("smiles", "smiling"),
        ("closes the eyes", "closing the eyes"),
        ("presses the lips", "pressing the lips"),
        ("pushes the jaw", "pushing the jaw"),
        ("knits the brows", "knitting the brows"),
        ("squeezes the cheeks", "squeezing the cheeks"),
        ("has a long nose", "having a long nose"),
        ("stretches the lips", "stretching the lips"),
    ],
)
def test_gerunds(verb: str, expected: str) -> None:
    assert gerund(verb) == expected


def test_every_verb_has_an_english_gerund() -> None:
    first = {phrases(Draws(0, number), Item("movement", name)).verb for name in MOVEMENTS for number in range(12)}
    for verb in first:
        assert re.match(r"[a-z]+ing\b", gerund(verb)) and not re.match(r"[a-z]*eing\b", gerund(verb))


def test_joined_and_polished() -> None:
    assert joined(["a"]) == "a" and joined(["a", "b", "c"]) == "a, b and c"
    assert polished("a  old man and a one-sided smile") == "an old man and a one-sided smile"


def test_sentence_compares_by_value() -> None:
    assert Sentence("a", {}, {}, (), "x") == Sentence("a", {}, {}, (), "x")
