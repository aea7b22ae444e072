"""CelebAMask-HQ (Lee et al. 2020) as it is published: 30,000 portraits, a mask a part, CelebA's forty attributes.

``CelebA-HQ-img/N.jpg``, ``CelebAMask-HQ-mask-anno/N÷2000/NNNNN_part.png``, ``CelebAMask-HQ-attribute-anno.txt`` and
``CelebA-HQ-to-CelebA-mapping.txt``, which the splits follow from: they are those of CelebA.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gptface.data.images import UnusableImage, load_labels
from gptface.data.public.annotation_tables import find_file, read_table
from gptface.data.public.celeba import SPLITS, attribute_flags
from gptface.data.public.pictures import read_sample
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError
from gptface.faces.regions import region_label

__all__ = ["PARTS", "PUBLISHED_CLASSES", "CelebAMaskHQ", "read_original_numbers", "split_of_original"]

# Published part -> region, in the order in which its authors paint them, later ones upon earlier.
PARTS: dict[str, str] = {
    "skin": "skin",
    "nose": "nose",
    "eye_g": "glasses",
    "l_eye": "eyes",
    "r_eye": "eyes",
    "l_brow": "brows",
    "r_brow": "brows",
    "l_ear": "ears",
    "r_ear": "ears",
    "mouth": "mouth",
    "u_lip": "mouth",
    "l_lip": "mouth",
    "hair": "hair",
    "hat": "hat",
    "ear_r": "ears",  # an earring
    "neck_l": "neck",  # a necklace
    "neck": "neck",
    "cloth": "clothes",
}
PUBLISHED_CLASSES: tuple[str, ...] = ("background", *PARTS)
"""By their number in the maps that the authors' own program paints."""
PER_FOLDER = 2000
SIDE = 512  # of the masks, in pixels
FIRST_OF_VALIDATION, FIRST_OF_TEST = 162_770, 182_637  # CelebA's partition, by number of the picture from 0


class CelebAMaskHQ:
    """A map-style data set of ``Sample`` with ``metadata["attributes"]`` and a region map of ``gptface.faces.REGIONS``.

    A mask that is not there is a part that is not seen, as published.

    Args:
        folder: as published.
        split: one of ``SPLITS``; ``None``: all.
        size: side in pixels; ``None`` keeps the pictures' 1024.
        published: whether samples also have ``metadata["published_labels"]``, in ``PUBLISHED_CLASSES``.

    Raises:
        InputError: a file is missing (it is named), or is not of its format (file and line).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: str | None = None,
        size: int | None = None,
        published: bool = False,
    ) -> None:
        self.published = published
        if split is not None and split not in SPLITS:
            raise InputError(f"split: {split!r}; choose {', '.join(SPLITS)}")
        self.folder, self.size = Path(folder), size
        self.pictures = find_file(self.folder, ("CelebA-HQ-img",), "the folder of pictures")
        self.masks = find_file(self.folder, ("CelebAMask-HQ-mask-anno",), "the folder of masks")
        table = find_file(self.folder, ("CelebAMask-HQ-attribute-anno.txt",), "the table of attributes")
        names, values, titles = read_table(table, 40, 2, "attributes")
        self.titles, attributes = titles, attribute_flags(values, titles, str(table))
        numbers = [name.removesuffix(".jpg") for name in names]
        if odd := next((name for name in numbers if not name.isdigit()), None):
            raise InputError(f"{table}: {odd!r} is no number of a picture")
        self._numbers = np.array(numbers, dtype=np.int64)
        self._attributes = attributes
        self._splits = self._read_splits()
        if split is not None:
            chosen = np.flatnonzero(self._splits == SPLITS.index(split))
            self._numbers, self._attributes = self._numbers[chosen], self._attributes[chosen]
            self._splits = self._splits[chosen]

    def _read_splits(self) -> np.ndarray:
        path = find_file(self.folder, ("CelebA-HQ-to-CelebA-mapping.txt",), "the table of CelebA's numbers")
        place = read_original_numbers(path)
        if missing := next((number for number in self._numbers.tolist() if number not in place), None):
            raise InputError(f"{path}: has no line for picture {missing}")
        return split_of_original(np.array([place[number] for number in self._numbers.tolist()]))

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """The picture's number."""
        return str(self._numbers[index])

    def __getitem__(self, index: int) -> Sample | Skipped:
        number = int(self._numbers[index])
        metadata = {
            "attributes": {title: int(flag) for title, flag in zip(self.titles, self._attributes[index], strict=True)},
            "split": SPLITS[int(self._splits[index])],
        }
        path = self.pictures / f"{number}.jpg"
        published = (lambda: self._paint(number, PUBLISHED_CLASSES.index)) if self.published else None
        return read_sample(
            path,
            str(number),
            self.size,
            metadata,
            lambda: self._paint(number, lambda part: region_label(PARTS[part])),
            published=published,
        )

    def _paint(self, number: int, label: Callable[[str], int]) -> np.ndarray:
        """The masks of a picture painted in their order, each with its part's label."""
        labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
        found = False
        for part in PARTS:
            path = self.masks / str(number // PER_FOLDER) / f"{number:05d}_{part}.png"
            if path.exists():
                mask = load_labels(path)
                if mask.shape != labels.shape:
                    raise UnusableImage("corrupt_image", f"{path}: {mask.shape}; masks are {SIDE} × {SIDE}")
                labels[mask > 0] = label(part)
                found = True
        if not found:
            raise UnusableImage("missing_file", f"{self.masks}: no mask of picture {number}")
        return labels


def read_original_numbers(path: Path) -> dict[int, int]:
    """CelebA's number of a picture, from 0, by that of CelebA-HQ: ``CelebA-HQ-to-CelebA-mapping.txt``.

    Raises:
        InputError: a line of another kind; it names file and line.
    """
    place: dict[int, int] = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            if number == 1 or not fields:
                continue
            if len(fields) != 3 or not (fields[0].isdigit() and fields[1].isdigit()):
                raise InputError(f"{path}, line {number}: allowed: a number, CelebA's number, CelebA's file")
            place[int(fields[0])] = int(fields[1])
    return place


def split_of_original(numbers: np.ndarray) -> np.ndarray:
    """The number of the split in ``SPLITS`` of CelebA's pictures, counted from 0."""
    return np.digitize(numbers, (FIRST_OF_VALIDATION, FIRST_OF_TEST))
