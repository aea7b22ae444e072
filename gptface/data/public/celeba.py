"""CelebA (Liu et al. 2015) as it is published: aligned pictures, forty attributes, five landmarks, partition.

The folder holds the annotations at its top or in ``Anno/`` and ``Eval/``, the pictures in ``img_align_celeba/`` or
``Img/img_align_celeba/``; the CSV files of the copy on Kaggle are read as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gptface.data.public.annotation_tables import find_file, read_table
from gptface.data.public.pictures import read_sample
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError
from gptface.faces.attributes import ATTRIBUTES

__all__ = ["SPLITS", "CelebA", "attribute_flags"]

SPLITS = ("train", "validation", "test")
"""By their number in the partition."""


class CelebA:
    """A map-style data set of ``Sample``: picture, ``metadata["attributes"]`` (name: 1 or 0), ``["landmarks"]`` (5, 2).

    Landmarks lie in pixels of the picture that is returned. There are no captions. What is wrong with a picture makes a
    ``Skipped``, as in ``FaceShards``.

    Args:
        folder: as published.
        split: one of ``SPLITS``; ``None``: all.
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' 178 × 218.

    Raises:
        InputError: a file is missing (it is named), or is not of its format (file and line).
    """

    def __init__(self, folder: str | os.PathLike[str], split: str | None = None, size: int | None = None) -> None:
        if split is not None and split not in SPLITS:
            raise InputError(f"split: {split!r}; choose {', '.join(SPLITS)}")
        if size is not None and size < 1:
            raise InputError(f"size: {size} pixels; it must be at least 1, or None")
        self.folder, self.size = Path(folder), size
        self.pictures = find_file(self.folder, ("img_align_celeba", "Img/img_align_celeba"), "the folder of pictures")
        if (self.pictures / "img_align_celeba").is_dir():  # as Kaggle packs it
            self.pictures /= "img_align_celeba"
        names, attributes, titles = read_table(self._file("Anno", "list_attr_celeba"), 40, 2, "attributes")
        attributes = attribute_flags(attributes, titles, str(self.folder / "list_attr_celeba"))
        self.titles = titles
        landmarks = self._beside(names, "Anno", "list_landmarks_align_celeba", 10, 2, "coordinates")
        partition = self._beside(names, "Eval", "list_eval_partition", 1, 0, "number of a split")[:, 0]
        if not np.isin(partition, (0, 1, 2)).all():
            raise InputError(f"{self.folder}: list_eval_partition holds other numbers than 0, 1 and 2")
        chosen = np.arange(len(names)) if split is None else np.flatnonzero(partition == SPLITS.index(split))
        self._names = [names[row] for row in chosen.tolist()]
        self._attributes = attributes[chosen]
        self._landmarks = landmarks[chosen].reshape(-1, 5, 2).astype(np.float32)
        self._partition = partition[chosen]

    def _file(self, room: str, name: str) -> Path:
        names = [f"{place}{name}.{suffix}" for suffix in ("txt", "csv") for place in ("", f"{room}/")]
        return find_file(self.folder, names, f"{name}.txt")

    def _beside(self, names: list[str], room: str, name: str, columns: int, header: int, what: str) -> np.ndarray:
        """A table's rows in the order of ``names``."""
        path = self._file(room, name)
        others, values, _ = read_table(path, columns, header, what)
        if others == names:
            return values
        places = {other: place for place, other in enumerate(others)}
        if missing := next((one for one in names if one not in places), None):
            raise InputError(f"{path}: has no row for {missing}, which has attributes")
        return values[[places[one] for one in names]]

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """The picture's file name without its suffix."""
        return self._names[index].rpartition(".")[0]

    def __getitem__(self, index: int) -> Sample | Skipped:
        name = self._names[index]
        metadata = {
            "attributes": {title: int(flag) for title, flag in zip(self.titles, self._attributes[index], strict=True)},
            "landmarks": self._landmarks[index],
            "split": SPLITS[int(self._partition[index])],
        }
        return read_sample(self.pictures / name, self.key(index), self.size, metadata)


def attribute_flags(values: np.ndarray, titles: list[str], name: str) -> np.ndarray:
    """int8 (n, 40) of 1 and 0 from CelebA's 1 and -1.

    Raises:
        InputError: other values, or other names than CelebA's forty; the sentence begins with ``name``.
    """
    if unknown := sorted(set(titles) - set(ATTRIBUTES)):
        raise InputError(f"{name}: {unknown[0]!r} is none of CelebA's attributes")
    if len(set(titles)) != 40:
        raise InputError(f"{name}: names {len(set(titles))} attributes; allowed: all 40")
    if not np.isin(values, (-1, 0, 1)).all():
        raise InputError(f"{name}: holds other values than -1, 0 and 1")
    return (values > 0).astype(np.int8)
