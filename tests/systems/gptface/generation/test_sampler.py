from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.errors import InputError
from gptface.systems.gptface.generation.denoiser import JointDenoiser, JointState
from gptface.systems.gptface.generation.drawing import best_of_seeds
from gptface.systems.gptface.generation.guidance import ClassifierFreeGuidance, ITMGuidance
from gptface.systems.gptface.generation.sampler import DecodingSettings, decode_masked
from gptface.systems.gptface.generation.selection import ORDERS, Order, RandomOrder
from tests.systems.gptface.generation.linear_denoiser import LinearDenoiser, blank_state
from tests.systems.gptface.generation.systems import tiny_system

SYSTEM = tiny_system()
DENOISER = JointDenoiser(SYSTEM.model)
GUIDED = [
    DecodingSettings(steps=5),
    DecodingSettings(steps=5, classifier_free=ClassifierFreeGuidance(2.5), top_k=8),
    DecodingSettings(steps=5, matching=ITMGuidance("first_order", 4.0)),
    DecodingSettings(steps=5, matching=ITMGuidance("exact", 4.0), classifier_free=ClassifierFreeGuidance(2.0)),
]


def ragged_batch(batch: int, seed: int = 0) -> tuple[JointState, Tensor, list[int]]:
    """Captions of different lengths, different shares of unknown tokens (one sample: none)."""
    generator = torch.Generator().manual_seed(seed)
    state = JointState(
        torch.randint(5, 60, (batch, 8), generator=generator),
        torch.randint(0, 9, (batch,), generator=generator),
        torch.randint(0, 64, (batch, 16), generator=generator),
    )
    unknown = torch.rand(batch, 16, generator=generator) < torch.linspace(0, 1, batch).unsqueeze(1)
    return state, unknown, [100 + row for row in range(batch)]


@pytest.mark.parametrize("how", GUIDED, ids=lambda how: f"{how.matching.mode}-{how.classifier_free.scale}")
def test_known_tokens_never_change_and_nothing_stays_unknown(how: DecodingSettings) -> None:
    state, unknown, seeds = ragged_batch(5)
    decoded = decode_masked(DENOISER, state, unknown, seeds, how, keep_history=True)
    codes = decoded.state.image_codes
    assert torch.equal(codes[~unknown], state.image_codes[~unknown])
    assert codes.min() >= 0 and codes.max() < 64
    assert decoded.history is not None and len(decoded.history) == 6
    for before, after in itertools.pairwise(decoded.history):
        known = before != 64
        assert torch.equal(after[known], before[known])  # what is decided stays decided
        assert ((after == 64).sum(1) <= (before == 64).sum(1)).all()
    torch.testing.assert_close(decoded.match_log_odds, DENOISER(decoded.state).match_log_odds, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("how", GUIDED, ids=lambda how: f"{how.matching.mode}-{how.classifier_free.scale}")
def test_same_seed_same_tokens_whatever_the_batch(how: DecodingSettings) -> None:
    state, unknown, seeds = ragged_batch(5)
    together = decode_masked(DENOISER, state, unknown, seeds, how)
    order = torch.tensor([3, 0, 4, 2, 1])
    permuted = decode_masked(DENOISER, state.rows(order), unknown[order], [seeds[int(i)] for i in order], how)
    assert torch.equal(permuted.state.image_codes, together.state.image_codes[order])
    assert torch.equal(permuted.match_log_odds, together.match_log_odds[order])
    for row in range(5):
        one = slice(row, row + 1)
        alone = decode_masked(DENOISER, state.rows(one), unknown[one], seeds[one], how)
        assert torch.equal(alone.state.image_codes, together.state.image_codes[one])
        assert torch.equal(alone.match_log_odds, together.match_log_odds[one])


@pytest.mark.parametrize("how", GUIDED, ids=lambda how: f"{how.matching.mode}-{how.classifier_free.scale}")
def test_batched_network_passes_follow_the_same_plan_and_noise(how: DecodingSettings) -> None:
    # In float64 a change of the batch moves logits by 1e-15, so that no tie of a random model is near enough to flip.
    denoiser = JointDenoiser(tiny_system().model.double())
    state, unknown, seeds = ragged_batch(5)
    alone = decode_masked(denoiser, state, unknown, seeds, how)
    batched = decode_masked(denoiser, state, unknown, seeds, replace(how, batch_invariant=False))
    assert torch.equal(alone.state.image_codes, batched.state.image_codes)


def test_another_seed_gives_another_picture() -> None:
    state, _, _ = ragged_batch(1)
    unknown = torch.ones(1, 16, dtype=torch.bool)
    hot = DecodingSettings(temperature=3.0)
    first, second = (decode_masked(DENOISER, state, unknown, [seed], hot).state.image_codes for seed in (1, 2))
    assert not torch.equal(first, second)


def test_weight_zero_is_the_unguided_result() -> None:
    state, unknown, seeds = ragged_batch(3)
    plain = decode_masked(DENOISER, state, unknown, seeds, DecodingSettings(steps=4))
    off = DecodingSettings(steps=4, matching=ITMGuidance("exact", 0.0), classifier_free=ClassifierFreeGuidance(1.0))
    assert torch.equal(decode_masked(DENOISER, state, unknown, seeds, off).state.image_codes, plain.state.image_codes)


def test_an_empty_caption_is_neither_followed_nor_matched() -> None:
    state, unknown, seeds = ragged_batch(2)
    state = state.without_caption()
    plain = decode_masked(DENOISER, state, unknown, seeds)
    guided = DecodingSettings(classifier_free=ClassifierFreeGuidance(5.0), matching=ITMGuidance("first_order", 50.0))
    decoded = decode_masked(DENOISER, state, unknown, seeds, guided)
    assert torch.equal(decoded.state.image_codes, plain.state.image_codes)


def test_exact_guidance_reuses_the_pass_that_scored() -> None:
    denoiser = LinearDenoiser(torch.zeros(6, 4), torch.zeros(6, 2))
    how = DecodingSettings(steps=6, matching=ITMGuidance("exact", 1.0, candidates=3))
    decode_masked(denoiser, blank_state(1, 6), torch.ones(1, 6, dtype=torch.bool), [0], how)
    # Step 1 is unguided (weight 0): one pass. Step 2 needs one more, then each step's scores are the next one's logits.
    assert denoiser.passes == 2 + 5 * 3


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    denoiser = LinearDenoiser(logits, torch.zeros(6, 2))
    decoded = decode_masked(
        denoiser, blank_state(1, 6), torch.ones(1, 6, dtype=torch.bool), [5], DecodingSettings(temperature=0)
    )
    assert torch.equal(decoded.state.image_codes[0], logits.argmax(-1))


@pytest.mark.parametrize("order", [order() for order in ORDERS.values()], ids=repr)
def test_every_order_fills_everything(order: Order) -> None:
    state, unknown, seeds = ragged_batch(3)
    decoded = decode_masked(DENOISER, state, unknown, seeds, DecodingSettings(order=order))
    assert (decoded.state.image_codes < 64).all()


@given(st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_draws_follow_the_networks_distribution(steps: int, seed: int) -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1]]).expand(8, 3)
    denoiser = LinearDenoiser(probabilities.log(), torch.zeros(8, 2))
    how = DecodingSettings(steps=steps, order=RandomOrder(), batch_invariant=False)
    seeds = [seed * 1000 + row for row in range(250)]
    decoded = decode_masked(denoiser, blank_state(250, 8), torch.ones(250, 8, dtype=torch.bool), seeds, how)
    shares = torch.bincount(decoded.state.image_codes.flatten(), minlength=3) / 2000
    torch.testing.assert_close(shares, probabilities[0], atol=0.06, rtol=0)


def test_text_is_filled_by_the_same_loop_without_special_tokens() -> None:
    denoiser = JointDenoiser(SYSTEM.model, "text", [10, 11])
    state, _, seeds = ragged_batch(4)
    unknown = torch.zeros(4, 8, dtype=torch.bool)
    unknown[:, 1:3] = True
    unknown &= torch.arange(8) < state.text_lengths.unsqueeze(1)
    how = DecodingSettings(steps=3, temperature=5.0, classifier_free=ClassifierFreeGuidance(2.0))
    for matching in (ITMGuidance(), ITMGuidance("first_order", 5.0)):
        decoded = decode_masked(denoiser, state, unknown, seeds, replace(how, matching=matching))
        ids = decoded.state.text_ids
        assert torch.equal(ids[~unknown], state.text_ids[~unknown])
        assert torch.equal(decoded.state.image_codes, state.image_codes)
        assert not torch.isin(ids[unknown], torch.tensor([0, 2, 3, 4, 10, 11])).any()


def test_best_of_keeps_the_better_match_of_every_sample() -> None:
    state, unknown, seeds = ragged_batch(4)
    unknown[:] = True
    how = DecodingSettings(steps=3, temperature=3.0)

    def draw(seeds: list[int]):  # type: ignore[no-untyped-def]
        return decode_masked(DENOISER, state, unknown, seeds, how)

    one, many = best_of_seeds(draw, seeds, 1), best_of_seeds(draw, seeds, 6)
    assert (many.match_log_odds >= one.match_log_odds).all() and (many.match_log_odds > one.match_log_odds).any()
    torch.testing.assert_close(DENOISER(many.state).match_log_odds, many.match_log_odds, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="best_of"):
        best_of_seeds(draw, seeds, 0)


def test_wrong_arguments_are_named() -> None:
    state, unknown, seeds = ragged_batch(2)
    with pytest.raises(InputError, match="unknown"):
        decode_masked(DENOISER, state, unknown[:, :5], seeds)
    with pytest.raises(InputError, match="seeds"):
        decode_masked(DENOISER, state, unknown, seeds[:1])
    for wrong in ({"steps": 0}, {"temperature": -1.0}, {"top_k": 0}):
        with pytest.raises(InputError):
            DecodingSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_decoding_on_the_gpu_synchronises_once_and_keeps_known_tokens() -> None:
    model = tiny_system().model.cuda()
    state, unknown, seeds = ragged_batch(3)
    state = JointState(state.text_ids.cuda(), state.text_lengths.cuda(), state.image_codes.cuda())
    for how in GUIDED:
        decoded = decode_masked(JointDenoiser(model), state, unknown.cuda(), seeds, how)
        assert torch.equal(decoded.state.image_codes[~unknown.cuda()], state.image_codes[~unknown.cuda()])
