from __future__ import annotations

import copy
import itertools
import json
import logging
import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data import order
from gptface.data.augmentation import HorizontalFlip
from gptface.data.batches import Needs, _Collator
from gptface.data.images import UnusableImage
from gptface.data.loader import ResumableLoader, _requests
from gptface.data.order import Position, epoch_order
from gptface.data.sample import Sample, Skipped
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from tests.data.test_shards import make_shard


@dataclass
class Numbers:
    """Sample i says i; the numbers in ``bad`` are skipped, those in ``raising`` raise."""

    count: int
    bad: frozenset[int] = frozenset()
    raising: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample | Skipped:
        assert 0 <= index < self.count
        if index in self.bad:
            return Skipped(str(index), "bad", f"{index} is bad")
        if index in self.raising:
            raise UnusableImage("too_small", f"{index} is small")
        notes = {"reading_notes": ["odd"]} if index % 5 == 0 else {}
        return Sample(np.full((2, 2, 3), index % 256, np.uint8), str(index), 1000 + index, notes)


def identities(samples: list[Sample]) -> list[int]:
    return [sample.sample_id - 1000 for sample in samples]


def mark_epoch(sample: Sample, epoch: int) -> Sample:
    sample = copy.copy(sample)
    sample.metadata = {"epoch": epoch}
    return sample


def with_epochs(samples: list[Sample]) -> list[tuple[int, int]]:
    return [(sample.metadata["epoch"], sample.sample_id - 1000) for sample in samples]


def loader(
    dataset: object,
    batch_size: int = 4,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    collate: object = identities,
    **options: object,
) -> ResumableLoader[list[int]]:
    return ResumableLoader(dataset, Position(len(dataset), seed, batch_size, rank, world_size), collate, **options)


def take(source: ResumableLoader[list[int]], batches: int) -> list[list[int]]:
    return list(itertools.islice(source, batches))


def test_training_batches_are_those_of_the_order_with_the_epoch_handed_to_the_transform() -> None:
    source = loader(Numbers(10), 4, seed=5, transform=mark_epoch, collate=with_epochs)
    endless = [(epoch, index) for epoch in range(4) for index in epoch_order(10, 5, epoch).tolist()]
    assert take(source, 10) == [endless[place : place + 4] for place in range(0, 40, 4)]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 30),
    batch_size=st.integers(1, 7),
    world_size=st.integers(1, 3),
    taken=st.integers(0, 12),
    bad=st.sets(st.integers(0, 29), max_size=8),
)
def test_a_resumed_loader_goes_on_as_if_nothing_had_happened(
    count: int, batch_size: int, world_size: int, taken: int, bad: set[int]
) -> None:
    dataset = Numbers(count, frozenset(bad) - {0})
    for rank in range(world_size):
        options = {"rank": rank, "world_size": world_size}
        whole = loader(dataset, batch_size, **options)
        expected = take(whole, taken + 6)
        first = loader(dataset, batch_size, **options)
        assert take(first, taken) == expected[:taken]
        state = json.loads(json.dumps(first.state_dict()))
        second = loader(dataset, batch_size, **options)
        second.load_state_dict(state)
        assert take(second, 6) == expected[taken:]
        assert (second.skipped, second.notes, second.stand_ins) == (whole.skipped, whole.notes, whole.stand_ins)


@given(split=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=4), data=st.data())
@settings(max_examples=40, deadline=None)
def test_resuming_with_another_batch_and_world_size_loses_nothing(
    split: list[tuple[int, int]], data: st.DataObject
) -> None:
    dataset = Numbers(17)
    state, read = None, []
    for batch_size, world_size in split:
        steps = data.draw(st.integers(1, 4))
        ranks = [loader(dataset, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
        for rank in ranks:
            if state is not None:
                rank.load_state_dict(state)
        for _ in range(steps):
            read += [index for rank in ranks for index in next(rank)]
        assert len({json.dumps(rank.state_dict()["position"]) for rank in ranks}) == 1
        state = ranks[0].state_dict()
    endless = itertools.chain.from_iterable(epoch_order(17, 0, epoch).tolist() for epoch in itertools.count())
    assert read == list(itertools.islice(endless, len(read)))


def test_workers_change_nothing_and_resume_exactly() -> None:
    dataset = Numbers(23, bad=frozenset({3, 4}), raising=frozenset({7}))
    expected_loader = loader(dataset, 5)
    expected = take(expected_loader, 12)
    parallel = loader(dataset, 5, workers=2)
    assert take(parallel, 7) == expected[:7]
    state = parallel.state_dict()  # the workers have read ahead; the state says what was handed out
    assert state["position"] == 35
    parallel.close()
    resumed = loader(dataset, 5, workers=1)
    resumed.load_state_dict(state)
    assert take(resumed, 5) == expected[7:]
    assert resumed.skipped == expected_loader.skipped and resumed.notes == expected_loader.notes
    assert take(parallel, 5) == expected[7:]  # closed, it goes on with fresh workers


def test_everything_can_be_sent_to_a_spawned_worker(tmp_path: Path) -> None:
    # Starting one takes many seconds on a busy machine; what can fail is the pickling, or that copies read otherwise.
    dataset = FaceShards(make_shard(tmp_path / "0.tar"), 16)
    position = Position(len(dataset), seed=0, batch_size=2)
    source = ResumableLoader(dataset, position, _Collator(Needs()), transform=HorizontalFlip(seed=1))
    samples, collate = pickle.loads(pickle.dumps((source._reader, source._collate)))
    requests = next(_requests(Position(len(dataset), seed=0, batch_size=2)))
    delivery = collate(samples.__getitems__(requests))
    assert torch.equal(delivery.batch.images, next(source).images)


def test_reading_on_a_second_loop_goes_on_where_the_first_stopped() -> None:
    expected = take(loader(Numbers(10)), 6)
    source = loader(Numbers(10))
    read = []
    for batch in source:
        read.append(batch)
        if len(read) == 2:
            break
    for batch in source:
        read.append(batch)
        if len(read) == 6:
            break
    assert read == expected


def test_the_global_random_state_is_left_alone() -> None:
    # A DataLoader draws its base seed from torch's global generator unless it is given one; resuming a run would then
    # shift every later draw of dropout.
    torch.manual_seed(3)
    before = torch.get_rng_state()
    source = loader(Numbers(10))
    take(source, 5)
    take(loader(Numbers(10), workers=1), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "epoch_order", lambda count, seed, epoch: np.arange(count))


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_samples_leave_a_smaller_batch_and_are_counted(
    workers: int, in_order: None, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = Numbers(12, bad=frozenset({2, 5}), raising=frozenset({8}))
    source = loader(dataset, 4, workers=workers)
    with caplog.at_level(logging.WARNING):
        assert take(source, 3) == [[0, 1, 3], [4, 6, 7], [9, 10, 11]]
    assert source.skipped == {"bad": 2, "too_small": 1}
    assert source.notes == {"odd": 2}
    assert source.stand_ins == 0
    assert [record.message for record in caplog.records] == [
        "skipped (bad): 2 is bad",
        "noted (odd): 1000",
        "skipped (too_small): 8 is small",
    ]


def test_a_batch_of_nothing_gets_a_stand_in_so_that_ranks_stay_in_step(in_order: None) -> None:
    dataset = Numbers(12, bad=frozenset({4, 5, 6}))
    ranks = [loader(dataset, 2, rank=rank, world_size=3) for rank in range(3)]
    batches = [[next(rank) for rank in ranks] for _ in range(4)]
    assert batches[0] == [[0, 1], [2, 3], [7]]  # 4 and 5 are bad, 6 too, 7 stands in
    assert batches[1] == [[7], [8, 9], [10, 11]]
    assert [rank.stand_ins for rank in ranks] == [0, 0, 2]
    assert sum((rank.skipped for rank in ranks), Counter()) == {"bad": 6}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_of_which_nothing_can_be_used_is_an_error_that_says_why(workers: int) -> None:
    source = loader(Numbers(5, bad=frozenset(range(5))), 2, workers=workers)
    with pytest.raises(InputError, match=r"no usable sample among 5 tried.* is bad"):
        next(source)


def test_a_state_of_something_else_is_refused_and_changes_nothing() -> None:
    source = loader(Numbers(10))
    take(source, 2)
    state = source.state_dict()
    for change in ({"samples": 11}, {"seed": 1}, {"position": -1}, {"position": None}):
        with pytest.raises(InputError, match=f"data: .*{next(iter(change))} is .*cannot resume"):
            source.load_state_dict({**state, **change})
    with pytest.raises(InputError, match="the checkpoint's is None"):
        source.load_state_dict({})
    assert source.state_dict() == state
    assert take(source, 1) == take(loader(Numbers(10)), 3)[2:]


def test_bad_arguments() -> None:
    for options, message in (
        ({"batch_size": 0}, "batch_size: 0"),
        ({"workers": -1}, "workers: -1"),
        ({"rank": 2, "world_size": 2}, "rank: 2 of 2"),
        ({"seed": -1}, "seed: -1"),
    ):
        with pytest.raises(InputError, match=message):
            loader(Numbers(3), **options)
    with pytest.raises(InputError, match="no samples"):
        loader(Numbers(0))


def test_real_shards_through_workers_with_flips_are_the_same_as_without(tmp_path: Path) -> None:
    make_shard(tmp_path / "0.tar", 5)
    make_shard(tmp_path / "1.tar", 4)
    dataset = FaceShards(tmp_path, 16)
    alone, parallel = (
        ResumableLoader(dataset, Position(9, 1, 4), list, workers=workers, transform=HorizontalFlip(seed=1))
        for workers in (0, 2)
    )
    for _ in range(8):
        for left, right in zip(next(alone), next(parallel), strict=True):
            assert np.array_equal(left.image, right.image)
            assert (left.sample_id, left.metadata) == (right.sample_id, right.metadata)
