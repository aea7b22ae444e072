"""FER+ (Barsoum et al. 2016): FER2013's 35,887 grey faces of 48 × 48 (Goodfellow et al. 2013), voted on by ten people.

``fer2013new.csv`` holds the votes. The pictures are those of FER2013: its ``fer2013.csv`` (their pixels, row by row as
in the votes), or ``FER2013Train/``, ``FER2013Valid/`` and ``FER2013Test/`` with ``fer0000000.png`` and so on, as FER+'s
own program writes them, at the top or in ``data/`` or ``Images/``.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gptface.data.images import encode_image
from gptface.data.public.annotation_tables import find_file
from gptface.data.public.pictures import Pictures, PublishedFace, check_split, read_sample
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError

__all__ = ["EXPRESSIONS_OF_FER", "FERPlus", "majority"]

EXPRESSIONS_OF_FER = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""In the order of their columns; "unknown" and "NF" (no face) follow."""
FIELDS = ("Usage", "Image name", *EXPRESSIONS_OF_FER, "unknown", "NF")
SPLITS = ("train", "validation", "test")
USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
FOLDERS = {"train": "FER2013Train", "validation": "FER2013Valid", "test": "FER2013Test"}
SIDE = 48


class FERPlus(Pictures):
    """A map-style data set of ``Sample`` with ``metadata["expression"]`` and ``["votes"]`` by expression.

    The expression is the majority's, by the rule of FER+'s own program (see :func:`majority`); faces on which there is
    none, of an unknown expression, or that are no faces, are left out, and ``left_out`` counts them.

    Args:
        folder: with the votes and the pictures.
        split: one of ``SPLITS``; ``None``: all.
        size: side in pixels; ``None`` keeps the pictures' 48.

    Raises:
        InputError: a file is missing (it is named), or is not of its format (file and line).
    """

    def __init__(self, folder: str | os.PathLike[str], split: str | None = None, size: int | None = None) -> None:
        super().__init__(size)
        check_split(split, SPLITS)
        root = Path(folder)
        votes = find_file(root, ("fer2013new.csv",), "the table of votes, fer2013new.csv,")
        places = ("", "data/", "Images/", "images/")
        base = next((root / place for place in places if (root / place / FOLDERS["train"]).is_dir()), None)
        pixels = None
        if base is None:
            folders = [f"{place}{FOLDERS['train']}" for place in places]
            pixels = find_file(
                root, ("fer2013.csv", "fer2013/fer2013.csv", *folders), "the table or folder of pictures"
            )
        self.left_out: Counter[str] = Counter()
        rows: list[int] = []
        for number, (part, name, counts) in enumerate(_read_votes(votes)):
            if split not in (None, part):
                continue
            label = majority(counts) if name else "NF"
            if label not in EXPRESSIONS_OF_FER:
                self.left_out[label] += 1
                continue
            metadata = {
                "expression": label,
                "votes": dict(zip(FIELDS[2:], counts.tolist(), strict=True)),
                "split": part,
            }
            picture = (base or root) / FOLDERS[part] / name
            self._faces.append(PublishedFace(Path(name).stem, picture, metadata))
            rows.append(number)
        if not self._faces:
            raise InputError(f"{votes}: holds no face with an expression of the split {split}")
        parts = {row: str(face.metadata["split"]) for row, face in zip(rows, self._faces, strict=True)}
        self._pixels = None if pixels is None else _read_pixels(pixels, parts)

    def __getitem__(self, index: int) -> Sample | Skipped:
        if self._pixels is None:
            return super().__getitem__(index)
        face = self._faces[index]
        return read_sample(encode_image(self._pixels[index]), face.key, self.size, face.metadata)


def majority(votes: np.ndarray) -> str:
    """The name of the field that more than half of the votes are for, single votes left out; else ``"no majority"``.

    Args:
        votes: (10,), the eight expressions, unknown, NF.
    """
    counted = np.where(votes > 1, votes, 0)
    best = int(counted.argmax())
    return FIELDS[2 + best] if counted[best] > counted.sum() / 2 else "no majority"


def _read_votes(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Split, picture's name (empty where there is no face) and votes, row by row."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                fields = [field.strip() for field in row]
                if number == 1:
                    if tuple(fields) != FIELDS:
                        raise InputError(f"{path}: has the columns {', '.join(fields)}; allowed: {', '.join(FIELDS)}")
                    continue
                if len(fields) != len(FIELDS) or fields[0] not in USAGES or not all(map(str.isdigit, fields[2:])):
                    raise InputError(
                        f"{path}, line {number}: allowed: {', '.join(USAGES)}, a picture's name, ten numbers of votes"
                    )
                yield USAGES[fields[0]], fields[1], np.array(fields[2:], dtype=np.int64)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _read_pixels(path: Path, parts: dict[int, str]) -> np.ndarray:
    """uint8 (n, 48, 48) of rows of ``fer2013.csv``, counted from 0 after its line of names.

    Args:
        parts: the split of every wanted row, by which it is seen that the two tables belong together.
    """
    found = np.empty((len(parts), SIDE, SIDE), dtype=np.uint8)
    place = {row: index for index, row in enumerate(parts)}
    read = 0
    try:
        with open(path, encoding="utf-8", newline="") as file:
            table: Iterator[dict[str, Any]] = csv.DictReader(file)
            for number, fields in enumerate(table):
                index = place.get(number)
                if index is None:
                    continue
                try:
                    values = np.array((fields.get("pixels") or "").split(), dtype=np.int64)
                except ValueError:
                    values = np.empty(0, dtype=np.int64)
                if values.size != SIDE * SIDE or values.min() < 0 or values.max() > 255:
                    raise InputError(f"{path}, line {number + 2}: pixels must be {SIDE * SIDE} numbers from 0 to 255")
                if USAGES.get(str(fields.get("Usage")).strip()) != parts[number]:
                    raise InputError(f"{path}, line {number + 2}: is of another split than this row of fer2013new.csv")
                found[index] = values.reshape(SIDE, SIDE)
                read += 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if read != len(parts):
        raise InputError(f"{path}: has fewer rows than fer2013new.csv; it may be cut")
    return found
