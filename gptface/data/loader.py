"""Batches for training and evaluation: the same ones whatever the number of workers, and exactly resumable."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

from gptface.data.order import check_rank, one_pass_indices, training_batch
from gptface.data.sample import Sample
from gptface.data.shard_writer import SampleDataset
from gptface.data.skipped import Skipped
from gptface.errors import InputError

__all__ = ["ResumableLoader", "build_loader"]

logger = logging.getLogger("gptface.data")

Batch = TypeVar("Batch")
Transform = Callable[[Sample, int], Sample]

PROBES = 1000  # substitutes tried for a batch of which nothing can be used, before the data set is given up


def build_loader(
    dataset: SampleDataset,
    *,
    batch_size: int,
    seed: int,
    collate: Callable[[list[Sample]], Batch],
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    shuffle: bool = True,
    transform: Transform | None = None,
    pin_memory: bool = False,
    prefetch: int = 2,
    multiprocessing_context: str | None = None,
) -> ResumableLoader[Batch]:
    """A loader over a map-style data set; see ``ResumableLoader`` for what it promises.

    Args:
        dataset: ``dataset[i]`` gives a ``Sample``, or a ``Skipped``, or raises an ``InputError`` (counted as skipped).
        batch_size: samples in one rank's batch.
        seed: of the order, 0 to 2⁶³ − 1.
        collate: makes a batch of a non-empty list of samples; runs in the workers.
        rank, world_size: which of how many processes this one is.
        workers: loader processes; 0 reads in this one. The batches are the same.
        shuffle: a fresh order every epoch; otherwise the data set's own.
        transform: ``transform(sample, epoch)`` before collation, for example ``HorizontalFlip``; it must be a function
            of its arguments alone.
        pin_memory: return batches in page-locked memory (batches need a ``pin_memory`` method; those here have one).
        prefetch: batches each worker prepares ahead.
        multiprocessing_context: ``"fork"``, ``"spawn"`` or ``"forkserver"``; ``None`` is the platform's own. All but
            fork need picklable arguments.

    Raises:
        InputError: an empty data set, or a number out of its range, which it names.
    """
    return ResumableLoader(
        dataset,
        batch_size=batch_size,
        seed=seed,
        collate=collate,
        rank=rank,
        world_size=world_size,
        workers=workers,
        shuffle=shuffle,
        transform=transform,
        pin_memory=pin_memory,
        prefetch=prefetch,
        multiprocessing_context=multiprocessing_context,
    )


class ResumableLoader(Generic[Batch]):
    """An endless iterator of training batches with a position, and a single pass for evaluation.

    **Training** (``next(loader)``, ``for batch in loader``) runs through epoch after epoch without a seam
    (``training_batch``): batches are full, every epoch has each sample once over all ranks, every rank has the same
    number of batches. Leaving a ``for`` loop and entering another one goes on where the first stopped.

    **Evaluation** (``one_pass()``) has each sample exactly once over all ranks, in the data set's order; the last batch
    is smaller, and a rank may have one batch more than another, so reduce sums over ranks after the pass, not in it.

    **Skipped samples** make their batch smaller and are counted in ``skipped`` by reason (the first of each reason is
    logged). To keep ranks in step, a training batch of which nothing is left takes the next usable sample of the
    data set as a stand-in (counted in ``stand_ins``); in a single pass such a batch is left out.

    **Resume**: ``state_dict()`` says which batches have been handed out, not which have been read ahead, and a loader
    that loads it yields what the first one would have yielded next. The number of workers may differ, and so may batch
    size and world size (the position is counted in samples): the sequence of samples goes on.

    Attributes:
        skipped: Counter of samples left out, by reason, since the beginning (resumed runs included) on this rank.
        notes: Counter of lesser faults of samples in use (their ``metadata["reading_notes"]``), likewise.
        stand_ins: samples read in place of whole batches that were skipped.
    """

    def __init__(
        self,
        dataset: SampleDataset,
        *,
        batch_size: int,
        seed: int,
        collate: Callable[[list[Sample]], Batch],
        rank: int,
        world_size: int,
        workers: int,
        shuffle: bool,
        transform: Transform | None,
        pin_memory: bool,
        prefetch: int,
        multiprocessing_context: str | None,
    ) -> None:
        check_rank(rank, world_size)
        if len(dataset) == 0:
            raise InputError("dataset: it holds no samples")
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("prefetch", prefetch, 1)):
            if value < least:
                raise InputError(f"{name}: {value}; it must be at least {least}")
        if not 0 <= seed < 1 << 63:
            raise InputError(f"seed: {seed}; it must be from 0 to 2^63 - 1")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.skipped: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.stand_ins = 0
        self._position = 0
        self._samples = _Samples(dataset, transform)
        self._collate = _Collate(collate)
        self._stream: Iterator[_Delivery[Batch]] | None = None
        self._options: dict[str, Any] = {"num_workers": workers, "pin_memory": pin_memory}
        if workers:
            self._options |= {"prefetch_factor": prefetch, "multiprocessing_context": multiprocessing_context}

    # Position ---------------------------------------------------------------------------------------------------------

    @property
    def samples_seen(self) -> int:
        """Samples handed out by all ranks together since the beginning of training, skipped ones included."""
        return self._position

    @property
    def epoch(self) -> int:
        """The epoch of the next sample, from 0."""
        return self._position // len(self.dataset)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches it takes a rank to see an epoch, rounded up."""
        return -(-len(self.dataset) // (self.batch_size * self.world_size))

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch handed out, as plain numbers (JSON can hold it)."""
        return {
            "position": self._position,
            "epoch": self.epoch,
            "samples": len(self.dataset),
            "seed": self.seed,
            "shuffle": self.shuffle,
            "skipped": dict(self.skipped),
            "notes": dict(self.notes),
            "stand_ins": self.stand_ins,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position.

        Raises:
            InputError: the state is of another data set's size, seed or order; the loader is left as it was.
        """
        for name, own in (("samples", len(self.dataset)), ("seed", self.seed), ("shuffle", self.shuffle)):
            if state.get(name) != own:
                raise InputError(
                    f"loader state: {name} is {state.get(name)!r}, this loader's is {own!r}; cannot resume"
                )
        position = state.get("position")
        if not isinstance(position, int) or position < 0:
            raise InputError(f"loader state: position is {position!r}; it must be a number of samples")
        self.close()
        self._position = position
        self.skipped = Counter(state.get("skipped", {}))
        self.notes = Counter(state.get("notes", {}))
        self.stand_ins = int(state.get("stand_ins", 0))

    # Iteration --------------------------------------------------------------------------------------------------------

    def __iter__(self) -> ResumableLoader[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._stream is None:
            sampler = _TrainingBatches(self, self._position)
            self._stream = iter(self._reader(sampler, stand_in=True))
        try:
            delivery = next(self._stream)
        except BaseException:
            self.close()
            raise
        self._position += self.batch_size * self.world_size
        self._account(delivery)
        assert delivery.batch is not None  # a stand-in sees to it
        return delivery.batch

    def one_pass(self) -> Iterator[Batch]:
        """Each sample once, over all ranks, in the data set's own order; does not touch the training position.

        Samples it skips are added to ``skipped``. Several passes may be made, and training may go on in between.
        """
        indices = one_pass_indices(len(self.dataset), self.rank, self.world_size)
        batches = [
            [_Request(0, index) for index in indices[start : start + self.batch_size]]
            for start in range(0, len(indices), self.batch_size)
        ]
        for delivery in self._reader(batches, stand_in=False):
            self._account(delivery)
            if delivery.batch is not None:
                yield delivery.batch

    def close(self) -> None:
        """Stop the workers and let go of what they have read ahead; iteration starts them again."""
        # Torch stops them when the iterator is deleted, but an exception's traceback can keep it alive for long, and by
        # the time the garbage collector comes the workers no longer hear the call to stop and are waited for.
        stop = getattr(self._stream, "_shutdown_workers", None)
        self._stream = None
        if stop is not None:
            stop()

    def _reader(self, batches: Any, *, stand_in: bool) -> DataLoader[Any]:
        samples = _Samples(self._samples.dataset, self._samples.transform, stand_in)
        # Without a generator of its own, a DataLoader draws its base seed from torch's global one, and resuming would
        # then shift every later draw of the training step.
        generator = torch.Generator().manual_seed(self.seed & 0xFFFFFFFF)
        # Typed for lists; it is given whatever the data set's __getitems__ returns.
        collate = cast("Callable[[list[Any]], Any]", self._collate)
        return DataLoader(samples, batch_sampler=batches, collate_fn=collate, generator=generator, **self._options)

    def _account(self, delivery: _Delivery[Batch]) -> None:
        for skipped in delivery.skipped:
            if not self.skipped[skipped.reason]:
                logger.warning("skipped (%s): %s", skipped.reason, skipped.detail or skipped.key)
            self.skipped[skipped.reason] += 1
        self.notes.update(delivery.notes)
        self.stand_ins += delivery.stand_ins


@dataclass(frozen=True)
class _Request:
    """One sample to read."""

    epoch: int
    index: int


class _TrainingBatches:
    """The endless batch sampler of one rank. It runs ahead of the loader's position by what the workers prefetch."""

    def __init__(self, loader: ResumableLoader[Any], position: int) -> None:
        self.position = position
        self.step = loader.batch_size * loader.world_size
        self.batch_at = partial(
            training_batch,
            len(loader.dataset),
            loader.seed,
            batch_size=loader.batch_size,
            rank=loader.rank,
            world_size=loader.world_size,
            shuffle=loader.shuffle,
        )

    def __iter__(self) -> Iterator[list[_Request]]:
        position = self.position
        while True:
            yield [_Request(epoch, index) for epoch, index in self.batch_at(position=position)]
            position += self.step


@dataclass
class _Fetched:
    """What a worker read for one batch."""

    samples: list[Sample]
    skipped: list[Skipped]
    stand_ins: int


class _Samples(Dataset[Any]):
    """Reads a batch's samples, in a worker; turns everything that cannot be used into ``Skipped``."""

    def __init__(self, dataset: SampleDataset, transform: Transform | None, stand_in: bool = False) -> None:
        self.dataset = dataset
        self.transform = transform
        self.stand_in = stand_in

    def __getitems__(self, requests: Sequence[_Request]) -> _Fetched:
        fetched = _Fetched([], [], 0)
        for request in requests:
            self._read(request, fetched)
        if not fetched.samples and self.stand_in:
            first, count = requests[0], len(self.dataset)
            for distance in range(1, min(count, PROBES) + 1):
                unusable: list[Skipped] = []  # counted when their own turn comes, not as somebody's stand-in
                self._read(_Request(first.epoch, (first.index + distance) % count), fetched, unusable)
                if fetched.samples:
                    fetched.stand_ins = 1
                    return fetched
            last = fetched.skipped[-1]
            message = f"dataset: no usable sample among {min(count, PROBES)} tried; the last: {last.detail or last.key}"
            raise InputError(f"{message} ({last.reason})")
        return fetched

    def _read(self, request: _Request, fetched: _Fetched, skipped: list[Skipped] | None = None) -> None:
        try:
            item = self.dataset[request.index]
            if isinstance(item, Sample) and self.transform is not None:
                item = self.transform(item, request.epoch)
        except InputError as error:
            item = Skipped(str(request.index), getattr(error, "reason", "invalid_sample"), str(error))
        if isinstance(item, Skipped):
            (fetched.skipped if skipped is None else skipped).append(item)
        else:
            fetched.samples.append(item)


@dataclass
class _Delivery(Generic[Batch]):
    """What a worker sends: the batch (``None`` where nothing was left of it) and what there is to count."""

    batch: Batch | None
    skipped: list[Skipped]
    notes: list[str]
    stand_ins: int

    def pin_memory(self) -> _Delivery[Batch]:
        pin = getattr(self.batch, "pin_memory", None)
        return self if pin is None else _Delivery(pin(), self.skipped, self.notes, self.stand_ins)


class _Collate(Generic[Batch]):
    def __init__(self, collate: Callable[[list[Sample]], Batch]) -> None:
        self.collate = collate

    def __call__(self, fetched: _Fetched) -> _Delivery[Batch]:
        batch = self.collate(fetched.samples) if fetched.samples else None
        notes = [note for sample in fetched.samples for note in sample.metadata.get("reading_notes", ())]
        return _Delivery(batch, fetched.skipped, notes, fetched.stand_ins)
