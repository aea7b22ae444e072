"""What every data source hands on: a face with its caption, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

__all__ = ["Sample", "Samples", "Skipped"]


@dataclass
class Sample:
    """An image–text pair.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        caption: the text that came with the image, possibly empty; see ``captions``.
        sample_id: 63-bit stable identity; every random choice about this sample is keyed by it, so it must not depend
            on the order of reading, the worker or the rank.
        metadata: whatever else the source knows (procedural faces: ``attributes``, ``expression``, ``occluder``, ...).
        region_map: uint8 (H, W) labels of facial regions, or ``None`` where the source has none.
    """

    image: np.ndarray
    caption: str
    sample_id: int
    metadata: dict[str, Any] = field(default_factory=dict)
    region_map: np.ndarray | None = None

    @property
    def captions(self) -> list[str]:
        """The texts that an image has in turn, at least one: those of ``metadata["captions"]``, else ``caption``."""
        return self.metadata.get("captions") or [self.caption]

    def caption_in_turn(self, epoch: int) -> str:
        """The text of an epoch: each of ``captions`` once in as many epochs, images not all in step."""
        return self.captions[(self.sample_id + epoch) % len(self.captions)]


@dataclass(frozen=True)
class Skipped:
    """A sample that is left out.

    Attributes:
        key: which one, as its source names it.
        reason: the name it is counted under, for example ``"truncated_image"``.
        detail: one sentence for a person, naming the file.
    """

    key: str
    reason: str
    detail: str = ""


class Samples(Protocol):
    """A map-style data set of samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample | Skipped: ...
