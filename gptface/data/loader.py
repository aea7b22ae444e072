"""Reading samples as they come: the same batches whatever the number of workers, and exactly resumable."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

from gptface.data.order import Position
from gptface.data.reading import meaning
from gptface.data.sample import Sample, Samples, Skipped
from gptface.errors import InputError

__all__ = ["ResumableLoader"]

logger = logging.getLogger("gptface.data")

Batch = TypeVar("Batch")
Transform = Callable[[Sample, int], Sample]

PROBES = 1000  # substitutes tried for a batch of which nothing can be used, before the data set is given up


class ResumableLoader(Generic[Batch]):
    """An endless iterator of batches read from a data set, with a position.

    ``next(loader)`` and ``for batch in loader`` run through epoch after epoch in the order of
    :class:`gptface.data.order.Position`. Leaving a ``for`` loop and entering another one goes on where the first
    stopped.

    **Skipped samples** make their batch smaller and are counted in ``skipped`` by reason (the first of each reason is
    logged). To keep ranks in step, a batch of which nothing is left takes the next usable sample of the data set as a
    stand-in (counted in ``stand_ins``).

    **Resume**: ``state_dict()`` says which batches have been handed out, not which have been read ahead, and a loader
    that loads it yields what the first one would have yielded next. The number of workers may differ.

    Args:
        dataset: ``dataset[i]`` gives a ``Sample``, or a ``Skipped``, or raises an ``InputError`` (counted as skipped).
        position: where to begin, and which part of each batch is this rank's.
        collate: makes a batch of a non-empty list of samples; runs in the workers.
        workers: loader processes; 0 reads in this one. The batches are the same.
        transform: ``transform(sample, epoch)`` before collation, for example ``HorizontalFlip``; it must be a function
            of its arguments alone.
        pin_memory: return batches in page-locked memory (batches need a ``pin_memory`` method).
        report: given a sentence with ``skipped`` and ``notes`` when the first epoch that ends here has been read.

    Attributes:
        skipped: Counter of samples left out, by reason, since the beginning (resumed runs included) on this rank.
        notes: Counter of lesser faults of samples in use (their ``metadata["reading_notes"]``), likewise.
        stand_ins: samples read in place of whole batches that were skipped.
    """

    def __init__(
        self,
        dataset: Samples,
        position: Position,
        collate: Callable[[list[Sample]], Batch],
        *,
        workers: int = 0,
        transform: Transform | None = None,
        pin_memory: bool = False,
        report: Callable[[str], None] | None = None,
    ) -> None:
        if workers < 0:
            raise InputError(f"workers: {workers}; it must be at least 0")
        self.position = position
        self.skipped: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.stand_ins = 0
        self._reader = _Reader(dataset, transform)
        self._collate = _Collate(collate)
        self._options: dict[str, Any] = {"num_workers": workers, "pin_memory": pin_memory}
        self._stream: Iterator[_Delivery[Batch]] | None = None
        self._report = report

    def __iter__(self) -> ResumableLoader[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._stream is None:
            self._stream = self._start()
        try:
            delivery = next(self._stream)
        except BaseException:
            self.close()
            raise
        epoch = self.position.samples // self.position.count
        self.position.advance()
        self._account(delivery)
        if self._report is not None and self.position.samples // self.position.count > epoch:
            self._report(self._counted())
            self._report = None
        return delivery.batch

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch handed out, and what was counted, as plain numbers."""
        counted = {"skipped": dict(self.skipped), "notes": dict(self.notes), "stand_ins": self.stand_ins}
        return {**self.position.state_dict(), **counted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position.

        Raises:
            InputError: the state is of another data set's size or seed; the loader is left as it was.
        """
        self.position.load_state_dict(state)
        self.close()
        self.skipped = Counter(state.get("skipped", {}))
        self.notes = Counter(state.get("notes", {}))
        self.stand_ins = int(state.get("stand_ins", 0))

    def close(self) -> None:
        """Stop the workers and let go of what they have read ahead; iteration starts them again."""
        # Torch stops them when the iterator is deleted, but an exception's traceback can keep it alive for long, and by
        # the time the garbage collector comes the workers no longer hear the call to stop and are waited for.
        stop = getattr(self._stream, "_shutdown_workers", None)
        self._stream = None
        if stop is not None:
            stop()

    def _start(self) -> Iterator[_Delivery[Batch]]:
        # Without a generator of its own, a DataLoader draws its base seed from torch's global one, and resuming would
        # then shift every later draw of the training step.
        generator = torch.Generator().manual_seed(self.position.seed & 0xFFFFFFFF)
        # Typed for lists; it is given whatever the data set's __getitems__ returns.
        collate = cast("Callable[[list[Any]], Any]", self._collate)
        requests = _requests(dataclasses.replace(self.position))
        reader = DataLoader(
            self._reader, batch_sampler=requests, collate_fn=collate, generator=generator, **self._options
        )
        return iter(reader)

    def _account(self, delivery: _Delivery[Batch]) -> None:
        for skipped in delivery.skipped:
            if not self.skipped[skipped.reason]:
                logger.warning("skipped (%s): %s", skipped.reason, skipped.detail or skipped.key)
            self.skipped[skipped.reason] += 1
        for note, key in delivery.notes:
            if not self.notes[note]:
                logger.warning("noted (%s): %s%s", note, key, meaning(note))
            self.notes[note] += 1
        self.stand_ins += delivery.stand_ins

    def _counted(self) -> str:
        """What was skipped and noted since the beginning, by reason."""
        share = "" if self.position.world_size == 1 else f" by process {self.position.rank}"
        parts = [
            f"{word} " + (", ".join(f"{number} {reason}" for reason, number in counts.most_common()) or "nothing")
            for word, counts in (("skipped", self.skipped), ("noted", self.notes))
        ]
        return f"faces: of {self.position.samples} samples read{share}, {'; '.join(parts)}"


@dataclass(frozen=True)
class _Request:
    """One sample to read."""

    epoch: int
    index: int


def _requests(position: Position) -> Iterator[list[_Request]]:
    """One rank's batches from ``position`` on; they run ahead of the loader's own position by what workers prefetch."""
    while True:
        indices, epochs = position.batch()
        yield [_Request(epoch, index) for epoch, index in zip(epochs.tolist(), indices.tolist(), strict=True)]
        position.advance()


@dataclass
class _Fetched:
    """What a worker read for one batch."""

    samples: list[Sample]
    skipped: list[Skipped]
    stand_ins: int


class _Reader(Dataset[Any]):
    """Reads a batch's samples, in a worker; turns everything that cannot be used into ``Skipped``."""

    def __init__(self, dataset: Samples, transform: Transform | None) -> None:
        self.dataset = dataset
        self.transform = transform

    def __getitems__(self, requests: Sequence[_Request]) -> _Fetched:
        fetched = _Fetched([], [], 0)
        for request in requests:
            item = self._read(request)
            if isinstance(item, Skipped):
                fetched.skipped.append(item)
            else:
                fetched.samples.append(item)
        if not fetched.samples:
            fetched.samples.append(self._stand_in(requests[0], fetched.skipped[-1]))
            fetched.stand_ins = 1
        return fetched

    def _stand_in(self, first: _Request, last: Skipped) -> Sample:
        """The next usable sample after ``first``; those that are not are counted when their own turn comes."""
        count = len(self.dataset)
        for distance in range(1, min(count, PROBES) + 1):
            item = self._read(_Request(first.epoch, (first.index + distance) % count))
            if isinstance(item, Sample):
                return item
        message = f"dataset: no usable sample among {min(count, PROBES)} tried; the last: {last.detail or last.key}"
        raise InputError(f"{message} ({last.reason})")

    def _read(self, request: _Request) -> Sample | Skipped:
        try:
            item = self.dataset[request.index]
            if isinstance(item, Sample) and self.transform is not None:
                item = self.transform(item, request.epoch)
        except InputError as error:
            return Skipped(str(request.index), getattr(error, "reason", "invalid_sample"), str(error))
        return item


@dataclass
class _Delivery(Generic[Batch]):
    """What a worker sends: the batch and what there is to count."""

    batch: Batch
    skipped: list[Skipped]
    notes: list[tuple[str, str]]
    """(note, key of the sample)."""
    stand_ins: int

    def pin_memory(self) -> _Delivery[Batch]:
        pin = getattr(self.batch, "pin_memory", None)
        return self if pin is None else _Delivery(pin(), self.skipped, self.notes, self.stand_ins)


class _Collate(Generic[Batch]):
    def __init__(self, collate: Callable[[list[Sample]], Batch]) -> None:
        self.collate = collate

    def __call__(self, fetched: _Fetched) -> _Delivery[Batch]:
        notes = [
            (note, str(sample.metadata.get("key", sample.sample_id)))
            for sample in fetched.samples
            for note in sample.metadata.get("reading_notes", ())
        ]
        return _Delivery(self.collate(fetched.samples), fetched.skipped, notes, fetched.stand_ins)
