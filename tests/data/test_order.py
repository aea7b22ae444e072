"""The endless sequence: its order never changes, every epoch is whole, positions go on exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptface.data.order import Position, computed_order, epoch_coins, epoch_order
from gptface.errors import InputError


def test_the_order_of_an_epoch_never_changes_between_versions() -> None:
    # Whoever changes this breaks the exact resumption of every run in progress.
    assert epoch_order(8, 0, 0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert epoch_order(8, 0, 1).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]
    assert epoch_order(8, 2**63 - 1, 0).tolist() == [1, 6, 3, 2, 7, 4, 0, 5]
    assert epoch_coins(12, 3, 1).astype(int).tolist() == [1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0]


def test_every_place_is_as_likely_for_every_sample() -> None:
    count, epochs = 6, 6000
    table = np.zeros((count, count))
    for epoch in range(epochs):
        table[np.arange(count), epoch_order(count, 3, epoch)] += 1
    expected = epochs / count
    chi_squared = ((table - expected) ** 2 / expected).sum()
    assert chi_squared < 60  # (count - 1)² = 25 degrees of freedom: 1 in 10,000 is above 60


def test_coins_are_fair_and_fresh_in_every_epoch() -> None:
    coins = np.stack([epoch_coins(1000, 3, epoch) for epoch in range(4)]).astype(float)
    assert 0.45 < coins.mean() < 0.55
    assert 0.45 < (coins[0] == coins[1]).mean() < 0.55


@given(
    count=st.integers(1, 60),
    seed=st.integers(0, 2**63 - 1),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 5),
    epochs=st.integers(1, 4),
)
def test_ranks_together_read_every_epoch_exactly_once(
    count: int, seed: int, batch_size: int, world_size: int, epochs: int
) -> None:
    ranks = [Position(count, seed, batch_size, rank, world_size) for rank in range(world_size)]
    read: list[tuple[int, int]] = []
    while ranks[0].samples < epochs * count:
        for rank in ranks:
            indices, numbers = rank.batch()
            assert len(indices) == batch_size
            read += zip(numbers.tolist(), indices.tolist(), strict=True)
            rank.advance()
    for epoch in range(epochs):
        in_epoch = [index for e, index in read if e == epoch]
        assert sorted(in_epoch) == list(range(count))
        assert in_epoch == epoch_order(count, seed, epoch).tolist()


@pytest.mark.parametrize("change", [{"samples": 12}, {"seed": 2}, {"position": "far"}])
def test_a_position_in_other_data_is_refused_and_changes_nothing(change: dict[str, object]) -> None:
    position = Position(11, 1, 3)
    position.advance()
    with pytest.raises(InputError, match=f"{next(iter(change))} is .*cannot resume"):
        position.load_state_dict({**position.state_dict(), **change})
    assert position.samples == 3


def test_the_computed_order_never_changes_between_versions() -> None:
    places = np.arange(8)
    assert computed_order(8, 0, 0, places).tolist() == [5, 0, 4, 7, 6, 2, 1, 3]
    assert computed_order(8, 2**63 - 1, 3, places).tolist() == [1, 3, 7, 2, 6, 4, 5, 0]


@given(count=st.integers(1, 3000), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 1000))
def test_the_computed_order_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    assert sorted(computed_order(count, seed, epoch, np.arange(count)).tolist()) == list(range(count))


def test_of_the_computed_order_too_every_place_is_as_likely_for_every_sample() -> None:
    count, epochs = 6, 6000
    table = np.zeros((count, count))
    for epoch in range(epochs):
        table[np.arange(count), computed_order(count, 3, epoch, np.arange(count))] += 1
    expected = epochs / count
    assert ((table - expected) ** 2 / expected).sum() < 60  # 25 degrees of freedom: 1 in 10,000 is above 60


def test_neighbours_of_a_large_computed_order_lie_apart_as_random_ones_do() -> None:
    count = 20_000_000
    entries = computed_order(count, 1, 0, np.arange(100_000)) / count
    # Of uniform pairs the mean distance is a third; its standard error here is 0.0007.
    assert abs(np.abs(np.diff(entries)).mean() - 1 / 3) < 0.004
    assert len(np.unique(entries)) == len(entries)


def test_positions_of_a_computed_order_read_every_epoch_once_and_go_on() -> None:
    ranks = [Position(25, 3, 4, rank, 2, computed=True) for rank in range(2)]
    read: list[int] = []
    while ranks[0].samples < 50:
        for position in ranks:
            read += position.batch()[0].tolist()
            position.advance()
    assert sorted(read[:25]) == sorted(read[25:50]) == list(range(25)) and read[:25] != read[25:50]
