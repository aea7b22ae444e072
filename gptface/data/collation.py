"""Samples to batches of tensors."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import get_worker_info
from transformers import PreTrainedTokenizerFast

from gptface.data.sample import Sample
from gptface.data.text import encode_captions
from gptface.errors import InputError
from gptface.faces.region_grid import region_grid

__all__ = ["ImageBatch", "ImageCollator", "PairBatch", "PairCollator", "stack_images"]

AnyBatch = TypeVar("AnyBatch", bound="TensorBatch")


@dataclass
class TensorBatch:
    """A dataclass whose tensors move together."""

    def to(self: AnyBatch, device: torch.device | str, non_blocking: bool = False) -> AnyBatch:
        """A copy with all tensors on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: AnyBatch) -> AnyBatch:
        """A copy with all tensors in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self: AnyBatch, change: Any) -> AnyBatch:
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return dataclasses.replace(
            self, **{name: change(value) for name, value in values.items() if isinstance(value, torch.Tensor)}
        )

    def __len__(self) -> int:
        return len(getattr(self, "sample_ids"))  # noqa: B009 (declared by every subclass, in its own place)


@dataclass
class ImageBatch(TensorBatch):
    """Images alone: ``images`` float32 (B, 3, H, W) in [-1, 1], ``sample_ids`` int64 (B,), ``keys`` (B names)."""

    images: torch.Tensor
    sample_ids: torch.Tensor
    keys: list[str] = field(default_factory=list)


@dataclass
class PairBatch(TensorBatch):
    """Images (or their codes) with captions.

    Attributes:
        images: float32 (B, 3, H, W) in [-1, 1], or ``None`` where ``codes`` int64 (B, N) stand for them.
        text_ids: int64 (B, T), padded, without [CLS] and [SEP].
        text_lengths: int64 (B,).
        sample_ids: int64 (B,).
        region_grid: int64 (B, N), the facial region of every image token; ``None`` where the source has no region maps.
        captions: B texts.
    """

    images: torch.Tensor | None
    codes: torch.Tensor | None
    text_ids: torch.Tensor
    text_lengths: torch.Tensor
    sample_ids: torch.Tensor
    region_grid: torch.Tensor | None = None
    captions: list[str] = field(default_factory=list)


def stack_images(samples: Sequence[Sample]) -> torch.Tensor:
    """float32 (B, 3, H, W) in [-1, 1] from the samples' uint8 (H, W, 3).

    Raises:
        InputError: the images differ in size.
    """
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) > 1:
        raise InputError(f"images: shapes {sorted(shapes)} in one batch; read the data set with a size")
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)


def _sample_ids(samples: Sequence[Sample]) -> torch.Tensor:
    return torch.tensor([sample.sample_id for sample in samples], dtype=torch.int64)


class ImageCollator:
    """Samples to an ``ImageBatch``."""

    def __call__(self, samples: list[Sample]) -> ImageBatch:
        keys = [str(sample.metadata.get("key", sample.sample_id)) for sample in samples]
        return ImageBatch(stack_images(samples), _sample_ids(samples), keys)


class PairCollator:
    """Samples to a ``PairBatch`` with ``max_length`` text positions.

    ``grid`` (h, w) asks for the region of every image token; batches in which a sample has no region map have none.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, max_length: int, grid: tuple[int, int] | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.grid = grid

    def __call__(self, samples: list[Sample]) -> PairBatch:
        if get_worker_info() is not None:
            # The tokenizer's own threads do not survive a fork, and the workers are the parallelism.
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
        captions = [sample.caption for sample in samples]
        text_ids, text_lengths = encode_captions(self.tokenizer, captions, self.max_length)
        grids = None
        if self.grid is not None:
            maps = [sample.region_map for sample in samples if sample.region_map is not None]
            if len(maps) == len(samples):
                grids = torch.from_numpy(np.stack([region_grid(labels, self.grid) for labels in maps]))
        images = stack_images(samples)
        return PairBatch(images, None, text_ids, text_lengths, _sample_ids(samples), grids, captions)
