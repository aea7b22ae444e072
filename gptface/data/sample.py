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
        caption: the text that came with the image, possibly empty.
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
