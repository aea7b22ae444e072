"""The one door to data: endless, exactly resumable batches of faces for a stage of any system.

A stage opens a split, says what it needs of a face, and how its own batch is made of that:

    faces = Faces(configuration.data, "train", output, accelerator)
    batches = faces.batches(Needs(region_maps=True), make, batch_size=64, seed=0)

``make`` takes a :class:`FaceBatch` on the stage's device. Whether faces come from a memory-mapped cache
(``data.cache``), are read by loader processes as they are needed, or come as codes from token shards, the stage does
not see. Held-out faces are cached, unless they are token shards, and gone through in order (``held_out_faces``,
``Faces.in_order``).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import get_worker_info

from gptface.data.augmentation import HorizontalFlip
from gptface.data.cache import cached_faces
from gptface.data.cached_batches import OTHERWISE, CachedBatches, CachedColumns, stacked_regions
from gptface.data.configuration import DataSection
from gptface.data.face_batch import FaceBatch, Needs
from gptface.data.known_landmarks import known_landmarks
from gptface.data.labels import known_labels
from gptface.data.loader import ResumableLoader
from gptface.data.order import Position, faces_digest
from gptface.data.pixels import images_to_tensor
from gptface.data.reading import Reading
from gptface.data.sample import Sample
from gptface.data.sources import has_validation, open_faces, open_tokens
from gptface.data.text import encode_captions
from gptface.data.token_faces import TokenBatches, tokens_in_order
from gptface.errors import InputError
from gptface.progress import Display

__all__ = ["Batches", "FaceBatch", "Faces", "InOrder", "Needs", "held_out_faces"]

Batch = TypeVar("Batch")
Made = TypeVar("Made", covariant=True)

CAPTIONS_READ = 100_000  # of so many faces ``Faces.captions`` reads the captions where they are not cached


class Batches(Protocol[Made]):
    """An endless iterator of batches that knows where it is."""

    def __iter__(self) -> Iterator[Made]: ...

    def __next__(self) -> Made: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Faces:
    """The faces of one split, opened: decoded into a cache first where the configuration says so.

    Args:
        data: where they come from.
        split: ``"train"`` or ``"validation"``; the latter is always cached.
        output: folder of the run, where the cache lies unless ``data`` names another place.
        accelerator: device and processes; by default the CPU and this process alone.
        verbose: show progress on stderr, and what was read, skipped and ignored.
        tokens: whether token shards, which hold no pictures, will do.

    Attributes:
        cache: the memory-mapped files; ``None`` where faces are read as they are needed.
        tokens: the token shards; ``None`` where the faces are pictures.

    Raises:
        InputError: no such files, nothing usable in them, nothing held out, or token shards that will not do.
    """

    def __init__(
        self,
        data: DataSection,
        split: str,
        output: Path,
        accelerator: Accelerator | None = None,
        *,
        verbose: bool = True,
        tokens: bool = False,
    ) -> None:
        self.workers = data.workers
        self.flip = data.flip and split == "train"
        self.device = torch.device("cpu") if accelerator is None else accelerator.device
        self.rank = 0 if accelerator is None else accelerator.process_index
        self.world_size = 1 if accelerator is None else accelerator.num_processes
        self.tokens = open_tokens(data, split) if tokens and data.source == "tokens" else None
        cached = (data.cache or split == "validation") and self.tokens is None
        self.cache = cached_faces(data, split, output, accelerator, verbose) if cached else None
        self._samples = None if cached or self.tokens is not None else open_faces(data, split)
        self._columns: dict[Needs, CachedColumns] = {}
        self._report: Callable[[str], None] | None = None
        main = accelerator is None or accelerator.is_main_process
        if self.tokens is not None and main:
            said = f"faces ({split}): {len(self.tokens)} faces in {self.tokens.shards} token shards, read as needed"
            Display(f"faces ({split})", verbose).line(said)
        if self._samples is not None and main:
            self._report = Display(f"faces ({split})", verbose).line
            for line in Reading.of(self._samples).lines(f"faces ({split})", "read as they are needed"):
                self._report(line)

    def __len__(self) -> int:
        """Number of faces; where they are not cached, of samples, some of which may turn out unusable."""
        faces = next(faces for faces in (self.tokens, self.cache, self._samples) if faces is not None)
        return len(faces)

    def captions(self) -> Iterator[str]:
        """All captions; where they are not cached, those of a hundred thousand: the first, or of token shards any."""
        if self.tokens is not None:
            yield from self.tokens.captions(CAPTIONS_READ)
            return
        if self.cache is not None:
            yield from (caption for several in self.cache.captions for caption in several)
            return
        assert self._samples is not None
        for index in range(min(len(self._samples), CAPTIONS_READ)):
            item = self._samples[index]
            if isinstance(item, Sample):
                yield from filter(None, item.captions)

    def text_width(self, needs: Needs) -> int:
        """Columns of ``text_ids``: word pieces of the longest caption, or the limit where captions are not cached."""
        assert needs.text is not None
        text_ids = self._select(needs).text_ids if self.cache is not None else None
        return needs.text[1] if text_ids is None else text_ids.shape[1]

    def batches(
        self, needs: Needs, make: Callable[[FaceBatch], Batch], *, batch_size: int, seed: int
    ) -> Batches[Batch]:
        """``make(batch)`` of batch after batch of this process, faces mirrored at random where ``data.flip`` says so.

        Order and coins are functions of ``seed`` and the position alone; see :class:`gptface.data.order.Position`.

        Raises:
            InputError: the faces lack region maps that are needed (at the first such batch where they are not cached).
        """
        if self.tokens is not None:
            position = Position(len(self.tokens), seed, batch_size, self.rank, self.world_size, computed=True)
            position.faces = self.tokens.digest
            flip = HorizontalFlip(seed) if self.flip else None
            return TokenBatches(self.tokens, needs, make, position, flip, self.device)
        if self.cache is not None:
            position = Position(len(self.cache), seed, batch_size, self.rank, self.world_size)
            position.faces = faces_digest(self.cache.sample_ids)
            return _Made(CachedBatches(self._select(needs), position, self.flip), make)
        assert self._samples is not None
        position = Position(len(self._samples), seed, batch_size, self.rank, self.world_size)
        if (sample_ids := getattr(self._samples, "sample_ids", None)) is not None:
            position.faces = faces_digest(sample_ids)
        loader = ResumableLoader(
            self._samples,
            position,
            _Collator(needs),
            workers=self.workers,
            transform=_Turn(HorizontalFlip(seed) if self.flip else None, needs.raw_images),
            pin_memory=self.device.type == "cuda",
            report=self._report,
        )
        return _Made(loader, lambda batch: make(_delivered(batch, needs, self.device)))

    def in_order(self, needs: Needs, make: Callable[[FaceBatch], Batch], *, batch_size: int) -> InOrder[Batch]:
        """``make(batch)`` of every face of a cache or of token shards once, in the data set's order and as it is."""
        if self.tokens is not None:
            return InOrder(len(self), tokens_in_order(self.tokens, needs, self.device), make, batch_size)
        return InOrder(len(self), self._select(needs).in_order, make, batch_size)

    def _select(self, needs: Needs) -> CachedColumns:
        assert self.cache is not None
        if needs not in self._columns:
            self._columns[needs] = CachedColumns(self.cache, needs, self.device, self.flip)
        return self._columns[needs]


def held_out_faces(
    data: DataSection,
    output: Path,
    accelerator: Accelerator | None = None,
    *,
    verbose: bool = True,
    tokens: bool = False,
) -> Faces | None:
    """The faces held out for validation; ``None`` where the configuration holds none out."""
    if not has_validation(data):
        return None
    return Faces(data, "validation", output, accelerator, verbose=verbose, tokens=tokens)


class _Made(Generic[Batch]):
    """``make(batch)`` of every batch of a source, whose position it shares."""

    def __init__(self, source: Batches[FaceBatch], make: Callable[[FaceBatch], Batch]) -> None:
        self._source = source
        self._make = make

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self._make(next(self._source))

    def state_dict(self) -> dict[str, Any]:
        return self._source.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._source.load_state_dict(state)


class InOrder(Generic[Batch]):
    """Every face once, in batches of which the last may be smaller; may be gone through again and again.

    Args:
        count: how many faces.
        read: the faces from one number up to another.
        make: makes a batch of them.
        batch_size: of a batch.
    """

    def __init__(
        self, count: int, read: Callable[[int, int], FaceBatch], make: Callable[[FaceBatch], Batch], batch_size: int
    ) -> None:
        self._count = count
        self._read = read
        self._make = make
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, self._count, self._batch_size):
            yield self._make(self._read(start, min(start + self._batch_size, self._count)))


class _Turn:
    """Gives a sample its epoch and the caption whose turn it is, then mirrors it by a coin where some are mirrored.

    Raw samples are only marked as mirrored.
    """

    def __init__(self, flip: HorizontalFlip | None, raw: bool) -> None:
        self.flip = flip
        self.raw = raw

    def __call__(self, sample: Sample, epoch: int) -> Sample:
        metadata = {**sample.metadata, "epoch": epoch}
        sample = dataclasses.replace(sample, caption=sample.caption_in_turn(epoch), metadata=metadata)
        if self.flip is None:
            return sample
        if self.raw:
            metadata["flipped"] = self.flip.mirrors(sample, epoch)
            return sample
        return self.flip(sample, epoch)


class _Collator:
    """Samples to a :class:`FaceBatch` on the host, in a loader's worker."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs

    def __call__(self, samples: list[Sample]) -> FaceBatch:
        needs = self.needs
        batch = FaceBatch(
            torch.tensor([sample.sample_id for sample in samples], dtype=torch.int64),
            torch.tensor([bool(sample.metadata.get("flipped")) for sample in samples]),
            torch.tensor([sample.metadata.get("epoch", 0) for sample in samples], dtype=torch.int64),
        )
        if needs.images:
            batch.images = torch.from_numpy(np.stack([sample.image for sample in samples]))
        maps = [sample.region_map for sample in samples if sample.region_map is not None]
        if needs.regions and len(maps) == len(samples):
            stacked = np.stack(maps)
            if needs.region_maps:
                batch.region_maps = torch.from_numpy(stacked)
            if needs.token_regions is not None:
                batch.token_regions = stacked_regions(stacked, needs.token_regions).long()
        if needs.labels:
            batch.attributes, batch.expressions = (torch.from_numpy(values) for values in known_labels(samples))
        if needs.landmarks:
            batch.landmarks = torch.from_numpy(known_landmarks(samples))
        if needs.captions:
            batch.captions = [sample.caption for sample in samples]
        if needs.text is not None:
            if get_worker_info() is not None:
                # The tokenizer's own threads do not survive a fork, and the workers are the parallelism.
                os.environ["TOKENIZERS_PARALLELISM"] = "false"
            captions = [sample.caption for sample in samples]
            batch.text_ids, batch.text_lengths = encode_captions(needs.text[0], captions, needs.text[1])
            batch.host_lengths = batch.text_lengths
        return batch


def _delivered(batch: FaceBatch, needs: Needs, device: torch.device) -> FaceBatch:
    """A loader's batch on the device, its bytes as network inputs."""
    if needs.regions and batch.region_maps is None and batch.token_regions is None:
        raise InputError(f"{needs.without_regions} for this data, which has samples without a region map; {OTHERWISE}")
    batch = batch.to(device)
    if batch.images is None or needs.raw_images:
        return batch
    return dataclasses.replace(batch, images=images_to_tensor(batch.images))
