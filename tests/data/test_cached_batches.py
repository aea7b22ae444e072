"""Batches from memory: full, seamless, dealt to ranks without loss, resumed exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptface.data.cached_batches import CachedBatches, Selection
from gptface.data.order import training_batch
from gptface.errors import InputError


def keep(selection: Selection) -> Selection:
    return selection


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 16),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_epoch_has_each_sample_once_over_all_ranks(
    count: int, batch_size: int, world_size: int, seed: int
) -> None:
    streams = [
        CachedBatches(count, keep, batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    rounds = -(-3 * count // (batch_size * world_size))
    seen = torch.cat([next(stream).indices for _ in range(rounds) for stream in streams])
    for epoch in range(3):
        assert sorted(seen[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


def test_the_order_is_the_loaders_own() -> None:
    stream = CachedBatches(10, keep, batch_size=4, seed=7, rank=1, world_size=2)
    for position in (0, 8, 16):
        selection = next(stream)
        expected = training_batch(10, 7, position, 4, 1, 2)
        assert list(zip(selection.epochs.tolist(), selection.indices.tolist(), strict=True)) == expected


def test_a_loaded_position_goes_on_exactly() -> None:
    first = CachedBatches(11, keep, batch_size=3, seed=1, flips=True)
    for _ in range(5):
        next(first)
    second = CachedBatches(11, keep, batch_size=3, seed=1, flips=True)
    second.load_state_dict(first.state_dict())
    for _ in range(6):
        one, other = next(first), next(second)
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.flips, other.flips)


def test_flips_are_fair_and_fresh_in_every_epoch() -> None:
    stream = CachedBatches(1000, keep, batch_size=1000, seed=3, flips=True)
    tosses = []
    for _ in range(4):
        selection = next(stream)
        tosses.append(selection.flips[selection.indices.argsort()])
    coins = torch.stack(tosses).float()
    assert 0.45 < float(coins.mean()) < 0.55
    assert 0.45 < float((coins[0] == coins[1]).float().mean()) < 0.55


@pytest.mark.parametrize("change", [{"samples": 12}, {"seed": 2}])
def test_a_position_in_other_data_is_refused(change: dict[str, int]) -> None:
    stream = CachedBatches(11, keep, batch_size=3, seed=1)
    with pytest.raises(InputError, match=next(iter(change))):
        stream.load_state_dict({**stream.state_dict(), **change})
