from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.systems.gptface.generation.noise import SampleNoise, derive_seed, gumbel, sample_categorical
from gptface.systems.gptface.generation.selection import ConfidenceOrder, HaltonOrder, RandomOrder, keep_best


def test_noise_belongs_to_the_sample() -> None:
    together = SampleNoise([7, 11, -3]).uniform(4, 1, (5, 2))
    for row, seed in enumerate([7, 11, -3]):
        assert torch.equal(SampleNoise([seed]).uniform(4, 1, (5, 2))[0], together[row])
    assert not torch.equal(SampleNoise([7]).uniform(5, 1, (5, 2))[0], together[0])
    assert not torch.equal(SampleNoise([7]).uniform(4, 2, (5, 2))[0], together[0])


def test_neighbouring_seeds_share_nothing() -> None:
    numbers = SampleNoise(list(range(200))).uniform(0, 0, (50,))
    correlation = torch.corrcoef(numbers)
    off_diagonal = correlation[~torch.eye(200, dtype=torch.bool)]
    assert abs(float(off_diagonal.mean())) < 0.01 and float(off_diagonal.abs().max()) < 0.75
    assert len({derive_seed(seed, part) for seed in range(100) for part in range(100)}) == 10_000


def test_categorical_draws_have_the_declared_frequencies() -> None:
    probabilities = torch.tensor([[0.5, 0.0, 0.3, 0.2], [0.0, 1.0, 0.0, 0.0]])
    drawn = sample_categorical(probabilities, SampleNoise([0, 1]).uniform(0, 0, (20_000,)))
    shares = torch.stack([torch.bincount(row, minlength=4) / 20_000 for row in drawn])
    torch.testing.assert_close(shares, probabilities, atol=0.012, rtol=0)


def test_extreme_uniform_numbers_never_draw_an_impossible_category() -> None:
    probabilities = torch.tensor([0.0, 0.7, 0.3, 0.0]) / 3
    largest = 1 - 2**-24
    assert sample_categorical(probabilities, torch.tensor([0.0, largest])).tolist() == [1, 2]


def test_gumbel_noise_has_the_mean_and_variance_of_its_law() -> None:
    noise = gumbel(SampleNoise([3]).uniform(0, 0, (100_000,)))
    assert torch.isfinite(gumbel(torch.tensor([0.0, 1 - 2**-24]))).all()
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.02)
    assert float(noise.var()) == pytest.approx(1.6449, abs=0.05)


@given(st.integers(1, 30), st.data())
def test_keep_best_keeps_the_best_unknown_ones(length: int, data: st.DataObject) -> None:
    unknown = torch.tensor([data.draw(st.lists(st.booleans(), min_size=length, max_size=length))])
    scores = torch.tensor([data.draw(st.lists(st.integers(-3, 3), min_size=length, max_size=length))]).float()
    count = data.draw(st.integers(0, int(unknown.sum())))
    kept = keep_best(scores, unknown, torch.tensor([count]))
    assert int(kept.sum()) == count and not (kept & ~unknown).any()
    left = unknown & ~kept
    if count and left.any():
        assert scores[kept].min() >= scores[left].max()


def test_confidence_is_greedy_at_the_end_and_noisy_at_the_start() -> None:
    confidence = torch.tensor([[-3.0, -1.0, -2.0]]).repeat(500, 1)
    uniform = SampleNoise(list(range(500))).uniform(0, 0, (3,))
    order = ConfidenceOrder(temperature=4.5)
    assert order.scores(confidence, torch.ones(500), uniform).argmax(1).eq(1).all()
    first = order.scores(confidence, torch.zeros(500), uniform).argmax(1)
    assert 0.2 < float((first == 1).float().mean()) < 0.8


def test_halton_order_visits_every_position_and_spreads() -> None:
    order = HaltonOrder()
    ranks = order.ranks(8)
    assert sorted(ranks.tolist()) == list(range(64))
    early = (ranks < 8).nonzero().squeeze(1)
    rows, columns = early // 8, early % 8
    assert len(set((rows // 2).tolist())) == 4 and len(set((columns // 2).tolist())) >= 3
    scores = order.scores(torch.zeros(2, 64), torch.zeros(2), torch.zeros(2, 64))
    assert scores[0].argmax() == ranks.argmin()


def test_orders_refuse_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="square"):
        HaltonOrder().scores(torch.zeros(1, 8), torch.zeros(1), torch.zeros(1, 8))
    with pytest.raises(InputError, match="temperature"):
        ConfidenceOrder(-1)
    with pytest.raises(InputError, match="seeds"):
        SampleNoise(["a"])  # type: ignore[list-item]
    assert RandomOrder().scores(torch.zeros(1, 2), torch.zeros(1), torch.tensor([[0.1, 0.9]])).argmax() == 1
