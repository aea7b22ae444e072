"""The face–language transformer: what it may see, what it returns, and that all of it learns."""

from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.objectives import gathered_cross_entropy, match_loss
from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel, JointSequence, Regime, build_sequence
from gptface.systems.gptface.initialisation import initialise_image_embeddings

GRID = (3, 4)
N = GRID[0] * GRID[1]
CODES = 11


def small_config(**overrides: object) -> FaceLanguageConfig:
    values = {
        "text_vocab_size": 40,
        "codebook_size": CODES,
        "image_grid": GRID,
        "max_text_length": 9,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "initializer_range": 0.2,  # far from zero, so that what is hidden and what is not differ visibly
    }
    return FaceLanguageConfig(**{**values, **overrides})


@pytest.fixture(params=["attention alone", "alignment towers"])
def model(request: pytest.FixtureRequest) -> FaceLanguageModel:
    torch.manual_seed(0)
    aligned = request.param == "alignment towers"
    model = FaceLanguageModel(small_config(alignment_size=24 if aligned else 0)).eval()
    if model.alignment is not None:  # they start at zero, which would hide what they do
        torch.nn.init.normal_(model.alignment.tell_image.weight, std=0.2)
        torch.nn.init.normal_(model.alignment.tell_text.weight, std=0.2)
    return model


def random_sequence(
    model: FaceLanguageModel, lengths: list[int], regimes: list[int], capacity: int = 7, seed: int = 0
) -> tuple[JointSequence, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    text_ids = torch.randint(5, 40, (len(lengths), capacity), generator=generator)
    codes = torch.randint(0, CODES + 1, (len(lengths), N), generator=generator)
    return build_sequence(model.vocabulary, text_ids, lengths, codes, regimes), text_ids, codes


def test_shapes() -> None:
    model = FaceLanguageModel(small_config()).eval()
    sequence, _, _ = random_sequence(model, [7, 3, 0], [0, 1, 2])
    hidden = model.forward_sequence(sequence)
    assert hidden.shape == (3, 7 + N + 3, 32)
    assert model.text_logits(hidden).shape == (3, 7 + N + 3, 40)
    assert model.image_logits(hidden[0, 0]).shape == (CODES,)
    assert model.match_logits(hidden).shape == (3, 2)
    states = model.layer_states(sequence)
    assert len(states) == 3
    assert torch.equal(model.final_norm(states[-1]), hidden)
    assert model.token_embeddings.weight.shape == (model.vocabulary.size, 32)


@pytest.mark.parametrize("regime", list(Regime))
def test_a_token_changes_exactly_the_rows_that_see_it(model: FaceLanguageModel, regime: Regime) -> None:
    sequence, _, _ = random_sequence(model, [6], [int(regime)])
    with torch.no_grad():
        before = model.forward_sequence(sequence)
        visible = sequence.attention_mask.to_dense()[0]
        for slot in range(int(sequence.lengths)):
            ids = sequence.token_ids.clone()
            ids[0, slot] = 30 if ids[0, slot] != 30 else 31
            after = model(ids, sequence.position_ids, sequence.segment_ids, sequence.regimes, sequence.attention_mask)
            changed = (after - before).abs().amax(-1)[0, : int(sequence.lengths)] > 1e-6
            # Who sees the slot is the same at every depth, since visibility is transitive in all three regimes.
            assert torch.equal(changed, visible[: int(sequence.lengths), slot]), f"slot {slot}"


@pytest.mark.parametrize("regime", list(Regime))
def test_padding_and_batch_mates_change_nothing(model: FaceLanguageModel, regime: Regime) -> None:
    others = [(other, length) for other, length in zip(Regime, (7, 1, 4), strict=True)]
    batch, text_ids, codes = random_sequence(
        model, [5, *(length for _, length in others)], [int(regime), *(int(other) for other, _ in others)]
    )
    alone = build_sequence(model.vocabulary, text_ids[:1, :5], [5], codes[:1], regime)
    with torch.no_grad():
        expected = model.forward_sequence(alone)
        found = model.forward_sequence(batch)
    torch.testing.assert_close(found[:1, : expected.shape[1]], expected, atol=1e-5, rtol=1e-5)
    assert found.isfinite().all()  # rows of padding see nothing; they must not poison anything


def test_inputs_embeds_stand_in_for_tokens(model: FaceLanguageModel) -> None:
    sequence, _, _ = random_sequence(model, [4, 2], [0, 0])
    embeds = model.embed_tokens(sequence.token_ids).detach().requires_grad_()
    hidden = model.forward_sequence(sequence, inputs_embeds=embeds)
    torch.testing.assert_close(hidden, model.forward_sequence(sequence))
    (gradient,) = torch.autograd.grad(model.match_logits(hidden)[:, 1].sum(), embeds)
    rows = gradient.abs().sum(-1)
    valid = torch.arange(rows.shape[1]) < sequence.lengths.unsqueeze(1)
    assert (rows[valid] > 0).all()
    assert (rows[~valid] == 0).all()


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(1)
    model = FaceLanguageModel(small_config())
    sequence, text_ids, codes = random_sequence(model, [7, 6, 5], [0, 1, 2])
    hidden = model.forward_sequence(sequence)
    first = torch.arange(3).unsqueeze(1) * sequence.token_ids.shape[1]
    text = torch.where(sequence.text_valid, first + sequence.text_slots, -1).flatten()
    image = (first + sequence.image_slots).flatten()
    loss = gathered_cross_entropy(hidden, text, text_ids.flatten(), model.text_logits)[0]
    loss = loss + gathered_cross_entropy(hidden, image, codes.flatten() % CODES, model.image_logits)[0]
    loss = loss + match_loss(model.match_logits(hidden), torch.tensor([1, 0, 1]))[0]
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_bfloat16_autocast_stays_near_float32(model: FaceLanguageModel) -> None:
    sequence, _, _ = random_sequence(model, [7, 3], [0, 2])
    expected = model.forward_sequence(sequence)
    with torch.autocast("cpu", torch.bfloat16):
        found = model.forward_sequence(sequence)
        match = model.match_logits(found)
    valid = torch.arange(found.shape[1]) < sequence.lengths.unsqueeze(1)
    difference = (found.float() - expected)[valid].norm() / expected[valid].norm()
    assert difference < 0.05
    match.float().sum().backward()


def test_dropout_follows_the_seed_of_torch() -> None:
    model = FaceLanguageModel(small_config(dropout=0.1, attention_dropout=0.2)).train()
    sequence, _, _ = random_sequence(model, [7], [0])

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model.forward_sequence(sequence)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    model.eval()
    assert torch.equal(run(1), run(2))


def test_gradient_checkpointing_gives_the_same_gradients(model: FaceLanguageModel) -> None:
    sequence, _, _ = random_sequence(model, [7, 2], [0, 1])
    model.train()

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model.forward_sequence(sequence).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.layers.parameters() if parameter.grad is not None]

    plain = gradients()
    model.gradient_checkpointing_enable()
    for first, second in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(first, second)


def test_the_implementations_of_attention_agree(model: FaceLanguageModel) -> None:
    sequence, _, _ = random_sequence(model, [7, 3], [0, 2])
    results = []
    for impl in ("reference", "sdpa"):
        model.set_attention_impl(impl)
        results.append(model.forward_sequence(sequence))
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=1e-4)


def test_projections_onto_the_residual_stream_start_smaller() -> None:
    torch.manual_seed(0)
    model = FaceLanguageModel(small_config(hidden_size=128, intermediate_size=256, num_hidden_layers=8))
    layer = model.layers[0]
    assert float(layer.expand.weight.detach().std()) == pytest.approx(0.2, rel=0.05)
    for weight in (layer.contract.weight, layer.attention.output.weight):
        assert float(weight.detach().std()) == pytest.approx(0.2 / 4, rel=0.05)


def test_presets() -> None:
    base = FaceLanguageConfig.base()
    assert (base.num_hidden_layers, base.hidden_size, base.num_attention_heads, base.intermediate_size) == (
        12,
        768,
        12,
        3072,
    )
    assert base.max_text_length + base.num_image_tokens + 3 == 334
    assert FaceLanguageConfig.small().hidden_size == 384
    assert FaceLanguageConfig.tiny(hidden_size=96, num_attention_heads=4).hidden_size == 96


def test_flops_match_what_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = FaceLanguageModel(small_config()).eval()
    model.set_attention_impl("sdpa")
    sequence, _, _ = random_sequence(model, [7], [0])
    slots = sequence.token_ids.shape[1]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.forward_sequence(sequence)
    linear = sum(
        count for op, count in counter.get_flop_counts()["Global"].items() if "addmm" in str(op) or "mm" in str(op)
    )
    attention = 4 * slots * slots * 32 * model.config.num_hidden_layers
    forward = model.flops_per_sequence(slots, training=False)
    assert linear in (forward, forward - attention)
    assert model.flops_per_sequence(torch.tensor([slots, slots])) == 6 * forward


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hidden_size": 100}, "num_attention_heads 2 .*heads of 50"),
        ({"num_attention_heads": 3}, "num_attention_heads 3 does not divide hidden_size 32"),
        ({"num_hidden_layers": 0}, "num_hidden_layers .* at least 1"),
        ({"image_grid": [3]}, "image_grid"),
        ({"dropout": 1.0}, "dropout"),
        ({"mask_token_id": 99}, "mask_id"),
        ({"mask_token_id": 2}, "must differ"),
        ({"hidden_size": "32"}, "hidden_size"),
    ],
)
def test_impossible_configurations(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("num_attention_heads 2 ", "hidden_size 100 over 2 ")):
        small_config(**overrides)


def test_a_preset_refuses_unknown_fields() -> None:
    with pytest.raises(InputError, match="no field 'hiden_size'"):
        FaceLanguageConfig.tiny(hiden_size=64)


def test_neither_tokens_nor_embeddings(model: FaceLanguageModel) -> None:
    sequence, _, _ = random_sequence(model, [4], [0])
    with pytest.raises(InputError, match="token_ids or inputs_embeds"):
        model(None, sequence.position_ids, sequence.segment_ids, sequence.regimes, sequence.attention_mask)


def test_image_embeddings_start_with_the_geometry_of_the_codebook() -> None:
    torch.manual_seed(0)
    model = FaceLanguageModel(small_config(hidden_size=256, num_attention_heads=4))
    before = model.token_embeddings.weight.detach().clone()
    codebook = torch.randn(CODES, 3) * 40 + 100
    codebook[1] = codebook[0] + 0.01
    initialise_image_embeddings(model, codebook)
    weight = model.token_embeddings.weight.detach()
    start = model.vocabulary.image_offset
    codes = weight[start : start + CODES]
    assert torch.equal(weight[:start], before[:start])
    assert torch.equal(weight[start + CODES :], before[start + CODES :])  # the mask token keeps its own
    assert float(codes.std()) == pytest.approx(0.2, rel=0.2)
    assert (codes[0] - codes[1]).norm() < 0.01 * (codes[0] - codes[2]).norm()
    with pytest.raises(InputError, match=r"codebook must be \(11, D\), got \(3, 7\)"):
        initialise_image_embeddings(model, torch.zeros(3, 7))
