"""The alignment towers: what they read, what they tell, and that both ways of calling them agree."""

from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.systems.gptface import FaceLanguageModel, JointSequence, Regime, build_sequence

from .test_transformer import CODES, N, random_sequence, small_config


@pytest.fixture
def model() -> FaceLanguageModel:
    torch.manual_seed(0)
    return FaceLanguageModel(small_config(alignment_size=24)).eval()


def mixed(model: FaceLanguageModel) -> JointSequence:
    return random_sequence(model, [7, 3, 5], [int(regime) for regime in Regime])[0]


@torch.no_grad()
def test_at_first_they_only_add_their_agreement_to_cls_of_masked_rows(model: FaceLanguageModel) -> None:
    plain = FaceLanguageModel(small_config()).eval()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "alignment" not in name})
    sequence = mixed(model)
    changed = (model.forward_sequence(sequence) != plain.forward_sequence(sequence)).any(-1)
    expected = torch.zeros_like(changed)
    expected[sequence.regimes == int(Regime.MASKED), 0] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ("tell_image", {Regime.MASKED: "image", Regime.TEXT_TO_IMAGE: "image", Regime.IMAGE_TO_TEXT: None}),
        ("tell_text", {Regime.MASKED: "words", Regime.TEXT_TO_IMAGE: None, Regime.IMAGE_TO_TEXT: "words"}),
    ],
)
def test_each_regime_is_told_what_it_may_see(
    model: FaceLanguageModel, layer: str, told: dict[Regime, str | None]
) -> None:
    sequence = mixed(model)
    before = model.layer_states(sequence)[0]
    torch.nn.init.normal_(getattr(model.alignment, layer).weight)
    changed = (model.layer_states(sequence)[0] != before).any(-1)
    for row, regime in enumerate(Regime):
        slots = torch.zeros(changed.shape[1], dtype=torch.bool)
        if told[regime] == "image":
            slots[sequence.image_slots[row]] = True
        elif told[regime] == "words":
            slots[sequence.text_slots[row][sequence.text_valid[row]]] = True
        assert torch.equal(changed[row], slots), regime.name


@torch.no_grad()
def test_summaries_from_ids_are_those_of_the_joint_sequence(model: FaceLanguageModel) -> None:
    _, text_ids, codes = random_sequence(model, [7, 3, 0], [0, 0, 0])
    lengths = torch.tensor([7, 3, 0])
    agreement = model.alignment.agreement(*model.alignment.summaries(text_ids, lengths, codes))
    sequence = build_sequence(model.vocabulary, text_ids, lengths, codes, Regime.MASKED)
    added = model.forward_sequence(sequence)[:, 0] - model.final_norm(model.layer_states(sequence)[-1])[:, 0]
    torch.testing.assert_close(added, agreement, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_caption_summary_knows_which_word_precedes_which_and_ignores_padding(model: FaceLanguageModel) -> None:
    codes = torch.zeros(3, N, dtype=torch.int64)
    text = torch.tensor([[6, 7, 8, 9, 1], [8, 9, 6, 7, 1], [6, 7, 8, 9, 30]])
    _, caption = model.alignment.summaries(text, torch.tensor([4, 4, 4]), codes)
    assert not torch.allclose(caption[0], caption[1], atol=1e-3)
    assert torch.equal(caption[0], caption[2])


@torch.no_grad()
def test_masked_image_tokens_and_empty_captions_have_finite_summaries(model: FaceLanguageModel) -> None:
    codes = torch.full((2, N), CODES)
    summaries = model.alignment.summaries(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 4]), codes)
    assert all(summary.isfinite().all() for summary in summaries)
    assert model.alignment.similarities(*summaries).isfinite().all()


def test_gradients_reach_every_parameter_of_the_towers(model: FaceLanguageModel) -> None:
    for layer in (model.alignment.tell_image, model.alignment.tell_text):
        torch.nn.init.normal_(layer.weight, std=0.2)
    sequence, text_ids, codes = random_sequence(model, [7, 6, 5], [0, 1, 2])
    hidden = model.forward_sequence(sequence)
    (hidden.square().sum() + model.match_logits(hidden)[:, 1].sum()).backward()
    summaries = model.alignment.summaries(text_ids, torch.tensor([7, 6, 5]), codes)
    model.alignment.similarities(*summaries).diagonal().sum().backward()
    for name, parameter in model.alignment.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InputError, match="alignment_size"):
        small_config(alignment_size=-1)


def test_embeddings_of_another_width_are_refused(model: FaceLanguageModel) -> None:
    sequence = mixed(model)
    narrow = model.token_embeddings(sequence.token_ids)
    with pytest.raises(InputError, match="inputs_embeds must be \\(B, S, 64\\), as embed_tokens makes them, got"):
        model.forward_sequence(sequence, inputs_embeds=narrow)
