from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gptface.errors import InputError
from gptface.systems.gptface.generation.denoiser import Denoised, JointDenoiser, JointState
from gptface.systems.gptface.generation.guidance import (
    ClassifierFreeGuidance,
    ITMGuidance,
    bounded_tilt,
    choose_candidate,
    first_order_shift,
    restrict_top_k,
)
from gptface.systems.gptface.generation.noise import SampleNoise
from gptface.systems.gptface.generation.sampler import DecodingSettings, decode_masked
from tests.systems.gptface.generation.linear_denoiser import LinearDenoiser, blank_state
from tests.systems.gptface.generation.systems import tiny_system


def divergence(tilted: Tensor, original: Tensor) -> Tensor:
    return (tilted.softmax(-1) * (tilted.log_softmax(-1) - original.log_softmax(-1))).sum(-1)


@given(st.integers(0, 10_000), st.floats(0.001, 3.0), st.floats(0.0, 50.0))
def test_tilt_never_leaves_its_bound_and_uses_it(seed: int, bound: float, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(4, 9, generator=generator, dtype=torch.float64)
    shift = size * torch.randn(4, 9, generator=generator, dtype=torch.float64)
    moved = divergence(bounded_tilt(logits, shift, bound), logits)
    assert (moved <= bound + 1e-9).all()
    whole = divergence(logits + shift, logits)
    free = whole <= bound
    torch.testing.assert_close(moved[free], whole[free])
    assert (moved[~free] > 0.9 * bound).all()


def test_tilt_keeps_forbidden_entries_forbidden() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 1.0]])
    tilted = bounded_tilt(logits, torch.tensor([[1.0, 50.0, -1.0]]), 0.1)
    assert torch.isneginf(tilted[0, 1]) and torch.isfinite(tilted[0, [0, 2]]).all()


def test_classifier_free_guidance_grows_from_the_conditional_distribution() -> None:
    conditional, free = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    guided = ClassifierFreeGuidance(3.0)(conditional, free, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(guided[0], conditional[0])
    torch.testing.assert_close(guided[1], free[1] + 3 * (conditional[1] - free[1]))


def test_first_order_guidance_is_bayes_rule_where_the_head_is_linear() -> None:
    logits, values = torch.randn(4, 6, dtype=torch.float64), 0.3 * torch.randn(4, 3, dtype=torch.float64)
    denoiser = LinearDenoiser(logits, values)
    state, unknown = blank_state(2, 4), torch.tensor([[True, False, True, True], [True, True, False, False]])
    shift = first_order_shift(denoiser, state, unknown, denoiser.logits(denoiser(state)))
    expected = (values @ denoiser.embedding_table().T).float()
    for row in range(2):
        torch.testing.assert_close(shift[row][unknown[row]], expected[unknown[row]])
        assert shift[row][~unknown[row]].abs().max() == 0


@pytest.mark.parametrize("alignment_size", [0, 24])
def test_first_order_gradient_is_that_of_the_real_head(alignment_size: int) -> None:
    model = tiny_system(alignment_size=alignment_size).model.double()
    denoiser = JointDenoiser(model)
    codes = torch.full((1, 16), 64)
    state = JointState(torch.tensor([[7, 9, 0, 0]]), torch.tensor([2]), codes)
    unknown = torch.ones(1, 16, dtype=torch.bool)
    with torch.no_grad():
        logits = denoiser.logits(denoiser(state))
        soft = logits.softmax(-1).double() @ denoiser.embedding_table()
    shift = first_order_shift(denoiser, state, unknown, logits)
    step = 1e-5
    for position, code in ((0, 3), (7, 60), (15, 20)):
        change = torch.zeros_like(soft)
        change[0, position] = step * denoiser.embedding_table()[code].detach()
        with torch.no_grad():
            ahead, behind = denoiser(state, soft + change), denoiser(state, soft - change)
            # match_log_odds is float32 for whom only ranks candidates; a difference quotient needs the digits.
            odds = [logits[0, 1] - logits[0, 0] for logits in (ahead.match_logits, behind.match_logits)]
        slope = (odds[0] - odds[1]) / (2 * step)
        assert float(shift[0, position, code]) == pytest.approx(float(slope), rel=1e-3, abs=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_exact_guidance_samples_the_posterior() -> None:
    # One unknown token, one step: with many candidates the outcome follows p(x) · p(match | x) ** weight.
    probabilities = torch.tensor([[0.5, 0.3, 0.2]])
    denoiser = LinearDenoiser(probabilities.log(), torch.tensor([[-3.0, 1.0]]), offset=-12.0, seed=3)
    weight = 2.0
    log_odds = (denoiser.table[:3] * denoiser.values).sum(-1)
    posterior = (probabilities[0].log() + weight * log_odds).softmax(-1)
    count = 3000
    settings = DecodingSettings(steps=1, matching=ITMGuidance("exact", weight, candidates=32), batch_invariant=False)
    decoded = decode_masked(
        denoiser, blank_state(count, 1), torch.ones(count, 1, dtype=torch.bool), range(count), settings
    )
    shares = torch.bincount(decoded.state.image_codes[:, 0], minlength=3) / count
    assert float((posterior - probabilities[0]).abs().max()) > 0.15  # or the test could not fail
    torch.testing.assert_close(shares, posterior, atol=0.04, rtol=0)


def test_choice_takes_the_best_at_infinite_weight_and_the_first_at_none() -> None:
    match_logits = torch.zeros(8, 2)
    match_logits[:, 1] = torch.tensor([0.0, 3.0, 1.0, 2.0, -1.0, 0.0, 0.0, 5.0])
    denoised = Denoised(torch.zeros(8, 1, 1), match_logits)
    uniform = SampleNoise([1, 2]).uniform(0, 0, (4,))
    assert choose_candidate(denoised, torch.tensor([torch.inf, torch.inf]), uniform).tolist() == [1, 7]
    assert choose_candidate(denoised, torch.zeros(2), uniform).tolist() == [0, 4]


@pytest.mark.parametrize("mode", ["first_order", "exact"])
def test_guided_pictures_match_better(mode: str) -> None:
    system = tiny_system()
    seeds = list(range(24))
    state = JointState(torch.full((24, 4), 9), torch.full((24,), 4), torch.full((24, 16), 64))
    unknown = torch.ones(24, 16, dtype=torch.bool)

    def odds(matching: ITMGuidance) -> float:
        settings = DecodingSettings(steps=6, matching=matching, temperature=2.0, batch_invariant=False)
        return float(decode_masked(JointDenoiser(system.model), state, unknown, seeds, settings).match_log_odds.mean())

    plain = odds(ITMGuidance())
    guided = odds(ITMGuidance(mode, 100.0, kl_bound=2.0, candidates=8))  # type: ignore[arg-type]
    assert guided > plain + 0.1, (mode, plain, guided)


def test_top_k_leaves_k() -> None:
    logits = torch.tensor([[1.0, 5.0, 3.0, 4.0]])
    assert restrict_top_k(logits, 2).isfinite().tolist() == [[False, True, False, True]]
    assert restrict_top_k(logits, None) is logits and restrict_top_k(logits, 9) is logits


def test_settings_print_themselves_and_refuse_nonsense() -> None:
    assert "mode='exact'" in repr(DecodingSettings(matching=ITMGuidance("exact", 2.0)))
    assert not ITMGuidance("exact", 0.0).active and not ITMGuidance("none", 3.0).active
    for wrong in ({"mode": "best"}, {"weight": -1.0}, {"candidates": 0}, {"kl_bound": float("nan")}):
        with pytest.raises(InputError):
            ITMGuidance(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        ClassifierFreeGuidance(-1.0)
