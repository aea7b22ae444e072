"""LaPa (Liu et al. 2020) as it is published: pictures, label maps of eleven classes, 106 landmarks, in three splits.

``train/``, ``val/`` and ``test/``, each with ``images/NAME.jpg``, ``labels/NAME.png`` and ``landmarks/NAME.txt``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gptface.data.images import UnusableImage, load_labels
from gptface.data.public.annotation_tables import find_file
from gptface.data.public.celeba import SPLITS
from gptface.data.public.pictures import read_sample
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError
from gptface.faces.regions import region_label

__all__ = ["CLASSES", "PUBLISHED_CLASSES", "LaPa"]

PUBLISHED_CLASSES: tuple[str, ...] = (
    *("background", "skin", "left brow", "right brow", "left eye", "right eye", "nose"),
    *("upper lip", "inner mouth", "lower lip", "hair"),
)
"""By their number."""

CLASSES: tuple[str, ...] = (
    *("background", "skin", "brows", "brows", "eyes", "eyes", "nose"),
    *("mouth", "mouth", "mouth", "hair"),
)
"""The region of every published label: brows and eyes are left and right, the mouth is upper lip, inside, lower lip."""
POINTS = 106
FOLDERS = {"train": "train", "validation": "val", "test": "test"}


class LaPa:
    """A map-style data set of ``Sample`` with a region map and, where there are any, ``metadata["landmarks_106"]``.

    The 106 points are LaPa's own scheme: no other part of the package draws regions of them.

    Args:
        folder: as published.
        split: one of ``SPLITS``.
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' own.
        published: whether samples also have ``metadata["published_labels"]``, in ``PUBLISHED_CLASSES``.

    Raises:
        InputError: a folder is missing (it is named), or empty.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: str = "train",
        size: int | None = None,
        published: bool = False,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"split: {split!r}; choose {', '.join(SPLITS)}")
        self.published = published
        self.folder, self.split, self.size = Path(folder) / FOLDERS[split], split, size
        pictures = find_file(self.folder, ("images",), "the folder of pictures")
        find_file(self.folder, ("labels",), "the folder of label maps")
        self._keys = sorted(path.stem for path in pictures.glob("*.jpg"))
        if not self._keys:
            raise InputError(f"{pictures}: holds no picture (.jpg)")
        self._regions = np.array([region_label(name) for name in CLASSES], dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """The picture's file name without its suffix."""
        return self._keys[index]

    def __getitem__(self, index: int) -> Sample | Skipped:
        key = self._keys[index]
        metadata: dict[str, object] = {"split": self.split}
        points = self.folder / "landmarks" / f"{key}.txt"
        if points.exists():
            found = _read_points(points)
            if found is None:
                metadata["reading_notes"] = ["bad_landmarks"]
            else:
                metadata["landmarks_106"] = found
        return read_sample(
            self.folder / "images" / f"{key}.jpg",
            key,
            self.size,
            metadata,
            lambda: self._regions[self._labels(key)],
            published=(lambda: self._labels(key)) if self.published else None,
        )

    def _labels(self, key: str) -> np.ndarray:
        """The published map."""
        path = self.folder / "labels" / f"{key}.png"
        labels = load_labels(path)
        if labels.min() < 0 or labels.max() >= len(CLASSES):
            raise UnusableImage("corrupt_image", f"{path}: label {labels.max()}; allowed: 0 to {len(CLASSES) - 1}")
        return labels


def _read_points(path: Path) -> np.ndarray | None:
    """float32 (106, 2): a line with their number, then x and y a line; ``None`` where it is not so."""
    try:
        numbers = [float(field) for field in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return None
    if len(numbers) != 1 + 2 * POINTS or numbers[0] != POINTS or not np.isfinite(numbers).all():
        return None
    return np.array(numbers[1:], dtype=np.float32).reshape(POINTS, 2)
