"""Faces from sentences: what counts as a hit, opposites, sides; the baseline learns; a random system is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import FaceParameters
from gptface.systems.facegpt import FaceGPTSystem
from gptface.systems.facegpt.data.conversations import Conversation
from gptface.systems.facegpt.data.sentences import Sentences
from gptface.systems.facegpt.evaluation.text_alone import (
    Wish,
    measure_sentences,
    sentence_lines,
    speaking,
    wishes,
)
from gptface.systems.facegpt.evaluation.text_baseline import (
    random_encoder,
    speaker_encoder,
    train_text_baseline,
    transformers_encoder,
)
from gptface.systems.facegpt.lessons import SculptedFaces
from tests.systems.facegpt.small_system import small_system


@pytest.fixture(scope="module")
def system() -> FaceGPTSystem:
    return small_system()


@pytest.fixture(scope="module")
def held_out(system: FaceGPTSystem) -> Sentences:
    return Sentences(system.morphable, 9, held_out=True)


def _exactly(wished: Sequence[Wish], system: FaceGPTSystem, sentences: Sentences) -> FaceParameters:
    """The faces that are asked for."""
    model = system.morphable
    heads = FaceParameters.neutral(model, len(wished))
    rows = [model.weights("expression", wish.asked) for wish in wished]
    traits = [sentences.directions.weights(wish.traits) for wish in wished]
    return heads.replace(expression=torch.cat(rows), identity=torch.stack(traits))


def test_what_was_asked_for_hits_and_its_opposite_does_not(system: FaceGPTSystem, held_out: Sentences) -> None:
    wished = wishes(held_out, 120)
    assert len({wish.conversation.turns[0].text for wish in wished}) > 110
    everything = np.ones(len(wished), dtype=bool)
    asked = _exactly(wished, system, held_out)
    against = [dict.fromkeys(wish.against, 0.8) for wish in wished]
    opposite = asked.replace(
        expression=torch.cat([system.morphable.weights("expression", shapes) for shapes in against]),
        identity=-asked.identity,
    )
    rows, found = measure_sentences(
        system.morphable,
        wished,
        {
            "asked": lambda conversations: (asked, everything),
            "opposite": lambda conversations: (opposite, everything),
            "none": lambda conversations: (asked, ~everything),
        },
        held_out,
    )
    assert set(found) == {"asked", "opposite", "none"}
    whole = {row["name"]: row for row in rows if row["kind"] == "all with shapes"}
    for measure in ("emitted", "hit", "opposite_absent", "side"):
        assert whole["asked"][measure]["value"] == 1, measure
    assert whole["asked"]["weight_error"]["value"] < 1e-6
    assert whole["opposite"]["opposite_absent"]["value"] == 0
    assert whole["opposite"]["hit"]["value"] < 0.4, "one brow may do what is against what the other was asked"
    assert whole["none"]["hit"]["value"] == 0 and whole["none"]["emitted"]["value"] == 0
    traits = {row["name"]: row["traits"]["value"] for row in rows if row["kind"] == "traits"}
    assert traits["asked"] == 1 and traits["opposite"] == 0 and traits["none"] == 0
    kinds = {row["kind"] for row in rows}
    assert {"one movement", "several movements", "emotion", "several kinds"} <= kinds
    assert any("no opposite 0.0" in line for line in sentence_lines(rows))


def test_three_of_more_than_three_shapes_suffice_and_sides_are_told_apart(
    system: FaceGPTSystem, held_out: Sentences
) -> None:
    conversation = Conversation.of("Q", "A")
    four = {"jawOpen": 0.5, "mouthSmile_L": 0.5, "mouthSmile_R": 0.5, "cheekPuff_L": 0.5, "noseSneer_L": 0.5}
    one = Wish(conversation, "one movement", {"mouthSmile_L": 0.7}, frozenset(), {})
    many = Wish(conversation, "emotion", four, frozenset(), {})
    heads = FaceParameters.neutral(system.morphable, 2)
    given = [{"mouthSmile_R": 0.9, "jawOpen": 0.2}, {"jawOpen": 0.5, "mouthSmile_R": 0.4, "noseSneer_L": 0.3}]
    heads = heads.replace(expression=torch.cat([system.morphable.weights("expression", row) for row in given]))
    rows, _ = measure_sentences(
        system.morphable, [one, many], {"found": lambda asked: (heads, np.ones(2, dtype=bool))}, held_out
    )
    single, several = (row for row in rows if row["kind"] in ("one movement", "emotion"))
    assert single["hit"]["value"] == 1 and single["side"]["value"] == 0, "the other side of the mouth smiled"
    assert several["hit"]["value"] == 1


def test_a_frozen_encoder_with_the_face_head_learns_what_random_features_tell(
    system: FaceGPTSystem, held_out: Sentences
) -> None:
    training = SculptedFaces(Sentences(system.morphable, 0), system.layout, system.morphable)
    known = [training.sentences.conversation(number) for number in range(12)]
    sculpt = train_text_baseline(
        random_encoder(system), system, lambda numbers: training(numbers, None), sentences=12, steps=150
    )
    heads, emitted = sculpt(known)
    target = training(range(12), None).numbers
    expression = target[:, system.layout.slices["expression"]]
    neutral = expression.square().mean()
    assert emitted.all() and (heads.expression - expression).square().mean() < 0.3 * neutral
    again, _ = sculpt(known[:1])
    torch.testing.assert_close(again.expression, heads.expression[:1], rtol=1e-3, atol=1e-4)
    texts = [one.turns[0].text for one in known]
    own = speaker_encoder(system)(texts)
    assert own.shape == (12, system.model.config.hidden_size) and not own.requires_grad
    assert (own - random_encoder(system, 1)(texts)).abs().max() > 1e-3
    with pytest.raises(InputError, match="0 steps"):
        train_text_baseline(random_encoder(system), system, lambda numbers: training(numbers, None), steps=0)


def test_any_text_model_of_transformers_is_an_encoder(
    system: FaceGPTSystem, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(system.tokens.tokenizer), **shape)).save_pretrained(folder)
    system.tokens.tokenizer.save_pretrained(folder)
    encode = transformers_encoder(folder)
    both, one = encode(["sculpt a man.", "sculpt an astonished man who smiles."]), encode(["sculpt a man."])
    assert both.shape == (2, 16)
    torch.testing.assert_close(both[:1], one, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="is no folder"):
        transformers_encoder(folder / "missing")


def test_a_random_system_is_measured_free_and_forced(system: FaceGPTSystem, held_out: Sentences) -> None:
    methods = {name: speaking(system, forced=name == "forced", name=name) for name in ("free", "forced")}
    rows, found = measure_sentences(system.morphable, wishes(held_out, 6), methods, held_out)
    assert found["free"].expression.shape == (6, len(system.morphable.expression_names))
    forced = [row for row in rows if row["name"] == "forced"]
    assert all(row["emitted"]["value"] == 1 for row in forced)
