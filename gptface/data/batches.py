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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import get_worker_info

from gptface.data.augmentation import SIDES, HorizontalFlip
from gptface.data.cache import FaceCache, cached_faces
from gptface.data.configuration import DataSection
from gptface.data.face_batch import FaceBatch, Needs
from gptface.data.known_landmarks import known_landmarks, mirrored_landmarks
from gptface.data.labels import known_labels
from gptface.data.loader import ResumableLoader
from gptface.data.order import Position, epoch_coins, faces_digest
from gptface.data.pixels import images_to_tensor
from gptface.data.reading import Reading
from gptface.data.sample import Sample
from gptface.data.sources import has_validation, open_faces, open_tokens
from gptface.data.text import encode_captions
from gptface.data.token_faces import TokenBatches, TokensInOrder
from gptface.errors import InputError
from gptface.faces.region_grid import region_grid
from gptface.progress import Display

__all__ = ["Batches", "FaceBatch", "Faces", "InOrder", "Needs", "held_out_faces"]

Batch = TypeVar("Batch")
Made = TypeVar("Made", covariant=True)

OTHERWISE = "data.landmarks or data.template give them to shards"  # how to have region maps all the same
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
        self._columns: dict[Needs, _CachedColumns] = {}
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
            return _Made(_CachedBatches(self._select(needs), position, self.flip), make)
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

    def in_order(self, needs: Needs, make: Callable[[FaceBatch], Batch], *, batch_size: int) -> Iterable[Batch]:
        """``make(batch)`` of every face of a cache or of token shards once, in the data set's order and as it is.

        It may be gone through again and again.
        """
        if self.tokens is not None:
            return TokensInOrder(self.tokens, needs, make, batch_size, self.device)
        return InOrder(self._select(needs), make, batch_size)

    def _select(self, needs: Needs) -> _CachedColumns:
        assert self.cache is not None
        if needs not in self._columns:
            self._columns[needs] = _CachedColumns(self.cache, needs, self.device, self.flip)
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


# From the cache ------------------------------------------------------------------------------------------------------


class _CachedColumns:
    """What a stage needs of a whole cache; n faces with m captions in all.

    Pixels stay in the cache's files; what is small lies on the device.

    Attributes:
        sample_ids: int64 (n,).
        token_regions: uint8 (1 or 2, n, h · w), of the faces and, where some are mirrored, of their mirror images.
        text_ids: int32 (m, T), without the columns that no caption reaches.
        text_lengths: int32 (m,); ``host_lengths`` are the same on the host.
        captions: m texts; this and what follows also where captions are needed as they are written.
        flippable: bool (m,), on the host: the caption does not speak of left and right.
        counts: int64 (n,), on the host: captions of each face.
        starts: int64 (n,), on the host: place of each face's first caption among all.
        offsets: int64 (n,), on the host: which caption has its turn in epoch 0 (``Sample.caption_in_turn``).
    """

    def __init__(self, cache: FaceCache, needs: Needs, device: torch.device, flip: bool) -> None:
        self.cache = cache
        self.needs = needs
        self.device = device
        self.sample_ids = torch.from_numpy(cache.sample_ids).to(device)
        self.token_regions: Tensor | None = None
        self.text_ids: Tensor | None = None
        if needs.regions and cache.region_maps is None:
            raise InputError(f"{needs.without_regions} for this data, which has no region maps; {OTHERWISE}")
        if needs.token_regions is not None:
            assert cache.region_maps is not None
            sides = [cache.region_maps, cache.region_maps[:, :, ::-1]][: 2 if flip else 1]
            self.token_regions = torch.stack([_token_regions(maps, needs.token_regions) for maps in sides]).to(device)
        if needs.text is not None or needs.captions:
            captions = [caption for several in cache.captions for caption in several]
            self.captions = captions
            self.counts = torch.tensor([len(several) for several in cache.captions], dtype=torch.int64)
            self.starts = self.counts.cumsum(0) - self.counts
            self.offsets = torch.from_numpy(cache.sample_ids) % self.counts
            self.flippable = torch.tensor([SIDES.search(caption) is None for caption in captions])
        if needs.text is not None:
            text_ids, lengths = encode_captions(needs.text[0], captions, needs.text[1])
            self.text_ids = text_ids[:, : max(1, int(lengths.max()))].int().to(device)
            self.host_lengths = lengths.int()
            self.text_lengths = self.host_lengths.to(device)

    def __len__(self) -> int:
        return len(self.cache)

    def batch(self, indices: Tensor, epochs: Tensor, mirrored: Tensor) -> FaceBatch:
        """The faces ``indices``, each for the ``epochs``-th time; all int64 or bool (B,), on the host."""
        needs, cache = self.needs, self.cache
        rows = indices.to(self.device, non_blocking=True)
        batch = FaceBatch(self.sample_ids[rows], mirrored, epochs.to(self.device, non_blocking=True), rows)
        if self.text_ids is not None or needs.captions:
            turn = self.starts[indices] + (self.offsets[indices] + epochs) % self.counts[indices]
            mirrored = mirrored & self.flippable[turn]
            if needs.captions:
                batch.captions = [self.captions[place] for place in turn.tolist()]
        if self.text_ids is not None:
            batch.host_lengths = self.host_lengths[turn]
            turn = turn.to(self.device, non_blocking=True)
            batch.text_ids = self.text_ids[turn].long()
            batch.text_lengths = self.text_lengths[turn].long()
        batch.mirrored = mirrored.to(self.device, non_blocking=True)
        if needs.images:
            images = cache.image_tensor[indices]
            if needs.raw_images:
                batch.images = images.to(self.device, non_blocking=True)
            else:
                if bool(mirrored.any()):
                    images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
                batch.images = images_to_tensor(images, self.device)
        if needs.region_maps:
            assert cache.region_maps is not None
            maps = torch.from_numpy(cache.region_maps[indices.numpy()])
            if not needs.raw_images:
                maps = torch.where(mirrored[:, None, None], maps.flip(2), maps)
            batch.region_maps = maps.to(self.device, non_blocking=True)
        if self.token_regions is not None:
            batch.token_regions = self.token_regions[batch.mirrored.long(), rows].long()
        if needs.labels:
            attributes = torch.from_numpy(cache.attributes[indices.numpy()])
            expressions = torch.from_numpy(cache.expressions[indices.numpy()])
            batch.attributes = attributes.to(self.device, non_blocking=True)
            batch.expressions = expressions.to(self.device, non_blocking=True)
        if needs.landmarks:
            points = torch.from_numpy(cache.landmarks[indices.numpy()])
            if not needs.raw_images:
                turned = mirrored_landmarks(points, cache.images.shape[2])
                points = torch.where(mirrored[:, None, None], turned, points)
            batch.landmarks = points.to(self.device, non_blocking=True)
        return batch


def _token_regions(region_maps: np.ndarray, grid: tuple[int, int]) -> Tensor:
    return torch.from_numpy(np.stack([region_grid(labels, grid) for labels in region_maps]).astype(np.uint8))


class _CachedBatches:
    """An endless iterator of batches from the cache, mirrored by a coin for every face and epoch where ``flip``."""

    def __init__(self, columns: _CachedColumns, position: Position, flip: bool) -> None:
        self.columns = columns
        self.position = position
        self.flip = flip

    def __iter__(self) -> Iterator[FaceBatch]:
        return self

    def __next__(self) -> FaceBatch:
        position = self.position
        indices, epochs = position.batch()
        mirrored = np.zeros(len(indices), dtype=bool)
        for epoch in set(epochs.tolist()) if self.flip else ():
            inside = epochs == epoch
            mirrored[inside] = epoch_coins(position.count, position.seed, epoch)[indices[inside]]
        position.advance()
        return self.columns.batch(*(torch.from_numpy(values) for values in (indices, epochs, mirrored)))

    def state_dict(self) -> dict[str, Any]:
        return self.position.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position.load_state_dict(state)


class InOrder(Generic[Batch]):
    """Every face of a cache once, in batches of which the last may be smaller; may be gone through again and again."""

    def __init__(self, columns: _CachedColumns, make: Callable[[FaceBatch], Batch], batch_size: int) -> None:
        self._columns = columns
        self._make = make
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._columns), self._batch_size):
            indices = torch.arange(start, min(start + self._batch_size, len(self._columns)))
            unmirrored = torch.zeros(len(indices), dtype=torch.bool)
            yield self._make(self._columns.batch(indices, torch.zeros_like(indices), unmirrored))


# As they are read ----------------------------------------------------------------------------------------------------


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
                batch.token_regions = _token_regions(stacked, needs.token_regions).long()
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
