"""Batches of faces from a cache: pixels stay in its files, what is small lies on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptface.data.augmentation import SIDES
from gptface.data.cache import FaceCache
from gptface.data.face_batch import FaceBatch, Needs
from gptface.data.known_landmarks import mirrored_landmarks
from gptface.data.order import Position, epoch_coins
from gptface.data.pixels import images_to_tensor
from gptface.data.text import encode_captions
from gptface.errors import InputError
from gptface.faces.region_grid import region_grid

__all__ = ["OTHERWISE", "CachedBatches", "CachedColumns", "stacked_regions"]

OTHERWISE = "data.landmarks or data.template give them to shards"  # how to have region maps all the same


class CachedColumns:
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
            self.token_regions = torch.stack([stacked_regions(maps, needs.token_regions) for maps in sides]).to(device)
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

    def in_order(self, start: int, stop: int) -> FaceBatch:
        """The faces from ``start`` up to ``stop``, as they are."""
        indices = torch.arange(start, stop)
        return self.batch(indices, torch.zeros_like(indices), torch.zeros(len(indices), dtype=torch.bool))

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


def stacked_regions(region_maps: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """The facial region of every image token: uint8 (n, h · w), of maps uint8 (n, S, S)."""
    return torch.from_numpy(np.stack([region_grid(labels, grid) for labels in region_maps]).astype(np.uint8))


class CachedBatches:
    """An endless iterator of batches from the cache, mirrored by a coin for every face and epoch where ``flip``."""

    def __init__(self, columns: CachedColumns, position: Position, flip: bool) -> None:
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
