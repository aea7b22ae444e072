"""What a stage asks of faces, and what it is handed: fields of a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from gptface.errors import InputError

__all__ = ["FaceBatch", "Needs"]


@dataclass(frozen=True)
class Needs:
    """Which fields of a :class:`FaceBatch` a stage uses; the others stay ``None``.

    Attributes:
        images: pixels.
        raw_images: pixels as they lie in the cache or file: bytes, and neither they nor the region maps are mirrored
            (for :class:`gptface.data.views.Views`, which does both to what it cuts).
        region_maps: labels of facial regions, a pixel.
        token_regions: a grid (h, w): the facial region of every image token.
        labels: attributes and expressions.
        landmarks: 68 facial landmarks, where they are known.
        captions: captions as they are written.
        text: captions as word pieces: a tokenizer, and the most pieces of a caption. A caption that speaks of left and
            right then keeps its face from being mirrored.
        without_regions: how the error begins where region maps are needed and there are none: the field of the
            configuration, and what it must be.
    """

    images: bool = True
    raw_images: bool = False
    region_maps: bool = False
    token_regions: tuple[int, int] | None = None
    labels: bool = False
    landmarks: bool = False
    captions: bool = False
    text: tuple[PreTrainedTokenizerFast, int] | None = None
    without_regions: str = "data.train: must have region maps"

    def __post_init__(self) -> None:
        if self.raw_images and self.token_regions is not None:
            raise InputError("raw_images: cannot go with token_regions; take them from the view's region map")

    @property
    def regions(self) -> bool:
        """Whether faces must have region maps."""
        return self.region_maps or self.token_regions is not None


@dataclass
class FaceBatch:
    """Faces, on the stage's device; fields that were not asked for are ``None``.

    Attributes:
        sample_ids: int64 (B,), identities that key every random choice.
        mirrored: bool (B,), which of them are mirror images (pixels and regions already are, unless raw images were
            asked for: then they are to be).
        epochs: int64 (B,), how many times each of them has come before.
        rows: int64 (B,), place of each face in the cache or the token shards; ``None`` where pictures are not cached.
        codes: int64 (B, N), of an image tokenizer, where the faces come from token shards.
        images: float32 (B, 3, S, S) in [−1, 1]. Raw ones, and those that a loader's worker hands on, are bytes:
            uint8 (B, S, S, 3).
        region_maps: uint8 (B, S, S), indices into ``REGIONS``.
        token_regions: int64 (B, h · w).
        attributes: float32 (B, A), 0 or 1, NaN where unknown; the columns are
            ``LABELLED_ATTRIBUTES``.
        expressions: int64 (B,), index into ``LABELLED_EXPRESSIONS``, −100 where unknown.
        landmarks: float32 (B, 68, 2), pixels of the picture, x right and y down, NaN where unknown. Mirrored along with
            the pixels.
        captions: B texts, of the epoch's turn.
        text_ids: int64 (B, T), padded, without [CLS] and [SEP].
        text_lengths: int64 (B,).
        host_lengths: ``text_lengths`` on the host, for sizes that must be known there.
    """

    sample_ids: Tensor
    mirrored: Tensor
    epochs: Tensor
    rows: Tensor | None = None
    codes: Tensor | None = None
    images: Tensor | None = None
    region_maps: Tensor | None = None
    token_regions: Tensor | None = None
    attributes: Tensor | None = None
    expressions: Tensor | None = None
    landmarks: Tensor | None = None
    captions: list[str] | None = None
    text_ids: Tensor | None = None
    text_lengths: Tensor | None = None
    host_lengths: Tensor | None = None

    def to(self, device: torch.device) -> FaceBatch:
        """A copy with all tensors but ``host_lengths`` on ``device``."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=True))
        return dataclasses.replace(moved, host_lengths=self.host_lengths)

    def pin_memory(self) -> FaceBatch:
        """A copy with all tensors in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> FaceBatch:
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        changed: dict[str, Any] = {
            name: change(value) for name, value in values.items() if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **changed)
