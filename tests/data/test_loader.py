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

from gptface.data.augmentation import HorizontalFlip
from gptface.data.collation import ImageCollator
from gptface.data.images import UnusableImage
from gptface.data.loader import ResumableLoader, _TrainingBatches, build_loader
from gptface.data.order import epoch_order, one_pass_indices, training_batch
from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.data.skipped import Skipped
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


def loader(dataset: object, batch_size: int = 4, seed: int = 0, **options: object) -> ResumableLoader[list[int]]:
    return build_loader(dataset, batch_size=batch_size, seed=seed, **{"collate": identities, **options})


def take(source: ResumableLoader[list[int]], batches: int) -> list[list[int]]:
    return list(itertools.islice(source, batches))


# Order ----------------------------------------------------------------------------------------------------------------


def test_the_order_of_an_epoch_never_changes_between_versions() -> None:
    # Whoever changes this breaks the exact resumption of every run in progress.
    assert epoch_order(8, 0, 0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert epoch_order(8, 0, 1).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]
    assert epoch_order(8, 2**63 - 1, 0).tolist() == [1, 6, 3, 2, 7, 4, 0, 5]
    assert epoch_order(5, 7, 3, shuffle=False).tolist() == [0, 1, 2, 3, 4]


def test_every_place_is_as_likely_for_every_sample() -> None:
    count, epochs = 6, 6000
    table = np.zeros((count, count))
    for epoch in range(epochs):
        table[np.arange(count), epoch_order(count, 3, epoch)] += 1
    expected = epochs / count
    chi_squared = ((table - expected) ** 2 / expected).sum()
    assert chi_squared < 60  # (count - 1)² = 25 degrees of freedom: 1 in 10,000 is above 60


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
    step = batch_size * world_size
    read: list[tuple[int, int]] = []
    for position in range(0, epochs * count, step):
        for rank in range(world_size):
            batch = training_batch(count, seed, position, batch_size, rank, world_size)
            assert len(batch) == batch_size
            read += batch
    for epoch in range(epochs):
        in_epoch = [index for e, index in read if e == epoch]
        assert sorted(in_epoch) == list(range(count))
        assert in_epoch == epoch_order(count, seed, epoch).tolist()


@given(count=st.integers(1, 100), world_size=st.integers(1, 9))
def test_one_pass_over_all_ranks_is_everything_once(count: int, world_size: int) -> None:
    parts = [list(one_pass_indices(count, rank, world_size)) for rank in range(world_size)]
    assert sorted(itertools.chain(*parts)) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# The loader -----------------------------------------------------------------------------------------------------------


def test_training_batches_are_those_of_the_order_with_the_epoch_handed_to_the_transform() -> None:
    source = loader(Numbers(10), 4, seed=5, transform=mark_epoch, collate=with_epochs)
    expected = [training_batch(10, 5, position, 4, 0, 1) for position in range(0, 40, 4)]
    assert take(source, 10) == expected
    assert source.epoch == 4 and source.samples_seen == 40 and source.batches_per_epoch == 3


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 30),
    batch_size=st.integers(1, 7),
    world_size=st.integers(1, 3),
    taken=st.integers(0, 12),
    bad=st.sets(st.integers(0, 29), max_size=8),
    shuffle=st.booleans(),
)
def test_a_resumed_loader_goes_on_as_if_nothing_had_happened(
    count: int, batch_size: int, world_size: int, taken: int, bad: set[int], shuffle: bool
) -> None:
    dataset = Numbers(count, frozenset(bad) - {0})
    for rank in range(world_size):
        options = {"rank": rank, "world_size": world_size, "shuffle": shuffle}
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
    passes = list(parallel.one_pass())
    assert sorted(itertools.chain(*passes)) == [n for n in range(23) if n not in (3, 4, 7)]


def test_everything_can_be_sent_to_a_spawned_worker(tmp_path: Path) -> None:
    # Starting one takes many seconds on a busy machine; what can fail is the pickling, or that copies read otherwise.
    dataset = FaceShards(make_shard(tmp_path / "0.tar"), 16, cache="memory")
    options = {"batch_size": 2, "seed": 0, "transform": HorizontalFlip(seed=1)}
    source = build_loader(dataset, collate=ImageCollator(), **options)
    reader = source._reader([[0]], stand_in=True)
    samples, collate = pickle.loads(pickle.dumps((reader.dataset, reader.collate_fn)))
    requests = next(iter(_TrainingBatches(source, 0)))
    delivery = collate(samples.__getitems__(requests))
    assert torch.equal(delivery.batch.images, next(source).images)


@pytest.mark.slow
def test_a_spawned_worker_reads_the_same() -> None:
    expected = take(loader(Numbers(23)), 3)
    assert take(loader(Numbers(23), workers=1, multiprocessing_context="spawn"), 3) == expected


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
    list(source.one_pass())
    take(loader(Numbers(10), workers=1), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_samples_leave_a_smaller_batch_and_are_counted(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Numbers(12, bad=frozenset({2, 5}), raising=frozenset({8}))
    source = loader(dataset, 4, shuffle=False, workers=workers)
    with caplog.at_level(logging.WARNING):
        assert take(source, 3) == [[0, 1, 3], [4, 6, 7], [9, 10, 11]]
    assert source.skipped == {"bad": 2, "too_small": 1}
    assert source.notes == {"odd": 2}
    assert source.stand_ins == 0
    assert [record.message for record in caplog.records] == [
        "skipped (bad): 2 is bad",
        "skipped (too_small): 8 is small",
    ]


def test_a_batch_of_nothing_gets_a_stand_in_so_that_ranks_stay_in_step() -> None:
    dataset = Numbers(12, bad=frozenset({4, 5, 6}))
    ranks = [loader(dataset, 2, rank=rank, world_size=3, shuffle=False) for rank in range(3)]
    batches = [[next(rank) for rank in ranks] for _ in range(4)]
    assert batches[0] == [[0, 1], [2, 3], [7]]  # 4 and 5 are bad, 6 too, 7 stands in
    assert batches[1] == [[7], [8, 9], [10, 11]]
    assert [rank.stand_ins for rank in ranks] == [0, 0, 2]
    assert sum((rank.skipped for rank in ranks), Counter()) == {"bad": 6}


def test_in_a_single_pass_a_batch_of_nothing_is_left_out() -> None:
    source = loader(Numbers(10, bad=frozenset({4, 5, 6, 7})), 4, seed=9)
    take(source, 3)
    position = source.state_dict()["position"]
    skipped_before = source.skipped["bad"]
    assert list(source.one_pass()) == [[0, 1, 2, 3], [8, 9]]
    assert source.state_dict()["position"] == position
    assert source.skipped["bad"] == skipped_before + 4
    assert list(source.one_pass()) == [[0, 1, 2, 3], [8, 9]]
    expected = loader(Numbers(10, bad=frozenset({4, 5, 6, 7})), 4, seed=9)
    assert take(source, 4) == take(expected, 7)[3:]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_a_single_pass_covers_everything_once_over_the_ranks(world_size: int) -> None:
    read = [
        index
        for rank in range(world_size)
        for batch in loader(Numbers(17), 4, rank=rank, world_size=world_size).one_pass()
        for index in batch
    ]
    assert sorted(read) == list(range(17))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_of_which_nothing_can_be_used_is_an_error_that_says_why(workers: int) -> None:
    source = loader(Numbers(5, bad=frozenset(range(5))), 2, workers=workers)
    with pytest.raises(InputError, match=r"no usable sample among 5 tried.* is bad"):
        next(source)
    assert list(source.one_pass()) == []


def test_a_state_of_something_else_is_refused_and_changes_nothing() -> None:
    source = loader(Numbers(10))
    take(source, 2)
    state = source.state_dict()
    for change in ({"samples": 11}, {"seed": 1}, {"shuffle": False}, {"position": -1}, {"position": None}):
        with pytest.raises(InputError, match="loader state"):
            source.load_state_dict({**state, **change})
    with pytest.raises(InputError, match="samples is None"):
        source.load_state_dict({})
    assert source.state_dict() == state
    assert take(source, 1) == take(loader(Numbers(10)), 3)[2:]


def test_bad_arguments() -> None:
    for options, message in (
        ({"batch_size": 0}, "batch_size: 0"),
        ({"workers": -1}, "workers: -1"),
        ({"rank": 2, "world_size": 2}, "rank: 2 of 2"),
        ({"seed": -1}, "seed: -1"),
        ({"prefetch": 0}, "prefetch: 0"),
    ):
        with pytest.raises(InputError, match=message):
            loader(Numbers(3), **options)
    with pytest.raises(InputError, match="no samples"):
        loader(Numbers(0))


def test_real_shards_through_workers_with_flips_are_the_same_as_without(tmp_path: Path) -> None:
    make_shard(tmp_path / "0.tar", 5)
    make_shard(tmp_path / "1.tar", 4)
    dataset = FaceShards(tmp_path, 16, cache="memory")
    options = {"batch_size": 4, "seed": 1, "collate": ImageCollator(), "transform": HorizontalFlip(seed=1)}
    alone = build_loader(FaceShards(tmp_path, 16), **options)
    parallel = build_loader(dataset, workers=2, **options)
    for _ in range(8):
        left, right = next(alone), next(parallel)
        assert torch.equal(left.images, right.images) and torch.equal(left.sample_ids, right.sample_ids)
        assert left.keys == right.keys
    assert dataset._cache is not None and dataset._cache._present.all()  # filled by the forked workers, seen from here
