"""Samples to batches of tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from gptface.data.sample import Sample
from gptface.errors import InputError

__all__ = ["LabelBatch", "LabelCollator", "stack_images"]

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
class LabelBatch(TensorBatch):
    """Images with what is known about the faces.

    Attributes:
        images: float32 (B, 3, H, W) in [-1, 1].
        sample_ids: int64 (B,).
        region_maps: int64 (B, H, W) labels; ``IGNORED`` everywhere in a sample without a map.
        attributes: float32 (B, A), 0 or 1; NaN where unknown or hidden (``metadata["hidden_attributes"]``).
        expressions: int64 (B,); ``IGNORED`` where unknown.
    """

    images: torch.Tensor
    sample_ids: torch.Tensor
    region_maps: torch.Tensor
    attributes: torch.Tensor
    expressions: torch.Tensor


IGNORED = -100  # what torch's cross-entropy leaves out


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


class LabelCollator:
    """Samples to a ``LabelBatch``: region maps, the named ``attributes``, and the place of the expression in a list."""

    def __init__(self, attributes: Sequence[str], expressions: Sequence[str]) -> None:
        self.attributes = tuple(attributes)
        self.expressions = tuple(expressions)

    def __call__(self, samples: list[Sample]) -> LabelBatch:
        images = stack_images(samples)
        region_maps = torch.full((len(samples), *images.shape[2:]), IGNORED, dtype=torch.int64)
        attributes = torch.full((len(samples), len(self.attributes)), torch.nan)
        expressions = torch.full((len(samples),), IGNORED, dtype=torch.int64)
        for row, sample in enumerate(samples):
            if sample.region_map is not None:
                region_maps[row] = torch.from_numpy(sample.region_map.astype(np.int64))
            known = sample.metadata.get("attributes", {})
            hidden = sample.metadata.get("hidden_attributes", ())  # true underneath an occluder, but nothing to be seen
            for column, name in enumerate(self.attributes):
                if name in known and name not in hidden:
                    attributes[row, column] = float(known[name])
            if sample.metadata.get("expression") in self.expressions:
                expressions[row] = self.expressions.index(sample.metadata["expression"])
        return LabelBatch(images, _sample_ids(samples), region_maps, attributes, expressions)
