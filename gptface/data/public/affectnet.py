"""AffectNet (Mollahosseini et al. 2019) in the two layouts in which it is given out.

The whole set: ``Manually_Annotated/Manually_Annotated_Images/FOLDER/NAME.jpg`` with ``training.csv`` and
``validation.csv`` in ``Manually_Annotated_file_lists/`` or at the top (``Automatically_Annotated`` is not read). The
smaller one, of eight expressions: ``train_set/images/N.jpg`` with ``train_set/annotations/N_exp.npy``, ``N_val.npy``,
``N_aro.npy`` and ``N_lnd.npy``, and ``val_set`` likewise. There is no published test set: papers report the validation
set. The landmarks are taken to lie in the stored pictures' pixels; no document says so.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from gptface.data.public.annotation_tables import find_file
from gptface.data.public.pictures import Pictures, PublishedFace, check_split, read_sample
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError

__all__ = ["EXPRESSIONS_OF_AFFECTNET", "AffectNet"]

EXPRESSIONS_OF_AFFECTNET = (
    *("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"),
    *("none", "uncertain", "no face"),
)
"""By their number; the last three are no expressions, and their faces are left out."""
EXPRESSIONS = 8
SPLITS = ("train", "validation")
LISTS = {"train": "training.csv", "validation": "validation.csv"}
SMALL = {"train": "train_set", "validation": "val_set"}
LIST_FOLDERS = ("", "Manually_Annotated_file_lists/", "Manually_Annotated/Manually_Annotated_file_lists/")
PICTURES = ("Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated_Images")
COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
)
POINTS = 68
NO_NUMBER = -2  # valence and arousal where nobody gave them


class AffectNet(Pictures):
    """A map-style data set of ``Sample`` with ``expression`` (a name of ``gptface.faces.EXPRESSIONS``) in its metadata.

    Where they are given, also ``valence`` and ``arousal`` (-1 to 1), ``landmarks`` (68, 2) and ``box``. Attribute
    ``left_out`` counts the faces without an expression of the whole set's lists; in the smaller layout, whose files are
    read one by one, such a face, or one without annotation, makes a ``Skipped``.

    Args:
        folder: in one of the two layouts.
        split: ``train`` or ``validation``.
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' own.

    Raises:
        InputError: a file is missing (it is named), or is not of its format (file and line).
    """

    def __init__(self, folder: str | os.PathLike[str], split: str = "train", size: int | None = None) -> None:
        super().__init__(size)
        if split is None:
            raise InputError(f"split: None; choose {', '.join(SPLITS)}")
        check_split(split, SPLITS)
        root = Path(folder)
        self.left_out: Counter[str] = Counter()
        self._annotations: Path | None = None
        if any((root / name).is_dir() for name in SMALL.values()):
            self._open_small(root / SMALL[split], split)
        else:
            self._open_lists(root, split)

    def _open_small(self, folder: Path, split: str) -> None:
        pictures = find_file(folder, ("images",), "the folder of pictures")
        self._annotations = find_file(folder, ("annotations",), "the folder of annotations")
        paths = sorted(pictures.glob("*.jpg"), key=lambda path: (len(path.stem), path.stem))
        if not paths:
            raise InputError(f"{pictures}: holds no picture (.jpg)")
        self._faces = [PublishedFace(path.stem, path, {"split": split}) for path in paths]

    def _open_lists(self, root: Path, split: str) -> None:
        path = find_file(root, [f"{place}{LISTS[split]}" for place in LIST_FOLDERS], LISTS[split])
        pictures = find_file(root, PICTURES, "the folder of pictures")
        try:
            with open(path, encoding="utf-8", newline="") as file:
                rows = csv.reader(file)
                header = next(rows, [])
                titled = header[:1] == [COLUMNS[0]]
                if titled and tuple(header) != COLUMNS:
                    raise InputError(f"{path}: has the columns {', '.join(header)}; allowed: {', '.join(COLUMNS)}")
                for number, row in enumerate(rows if titled else [header, *rows], start=2 if titled else 1):
                    if row:
                        self._add(row, pictures, split, f"{path}, line {number}")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
        if not self._faces:
            raise InputError(f"{path}: holds no face with an expression")

    def _add(self, row: list[str], pictures: Path, split: str, where: str) -> None:
        if len(row) != len(COLUMNS):
            raise InputError(f"{where}: {len(row)} fields; allowed: {len(COLUMNS)} ({', '.join(COLUMNS)})")
        try:
            label = int(row[6])
            name = EXPRESSIONS_OF_AFFECTNET[label] if label >= 0 else ""
        except (ValueError, IndexError):
            name = ""
        if not name:
            raise InputError(f"{where}: expression {row[6]!r}; allowed: 0 to {len(EXPRESSIONS_OF_AFFECTNET) - 1}")
        if label >= EXPRESSIONS:
            self.left_out[name] += 1
            return
        metadata: dict[str, Any] = {"expression": name, "split": split}
        for field, text in zip(("valence", "arousal"), row[7:], strict=True):
            if (value := _number(text)) is not None and value != NO_NUMBER:
                metadata[field] = value
        box = [_number(text) for text in row[1:5]]
        if all(value is not None for value in box):
            left, top, width, height = (float(value) for value in box if value is not None)
            if width > 0 and height > 0:
                metadata["box"] = np.array([left, top, left + width, top + height], dtype=np.float32)
        points = _points(row[5].split(";"))
        if points is not None:
            metadata["landmarks"] = points
        self._faces.append(PublishedFace(row[0].rpartition(".")[0], pictures / row[0], metadata))

    def __getitem__(self, index: int) -> Sample | Skipped:
        face = self._faces[index]
        if self._annotations is None:
            return super().__getitem__(index)
        path = self._annotations / f"{face.key}_exp.npy"
        label = _saved(path)
        if label is None or label.size != 1 or not 0 <= label.item() < EXPRESSIONS or label.item() % 1:
            said = "is missing or no array" if label is None else f"holds {label.reshape(-1)[:3].tolist()}"
            return Skipped(face.key, "no_expression", f"{path}: {said}; allowed: a number from 0 to {EXPRESSIONS - 1}")
        metadata = {**face.metadata, "expression": EXPRESSIONS_OF_AFFECTNET[int(label.item())]}
        for field, end in (("valence", "val"), ("arousal", "aro")):
            value = _saved(self._annotations / f"{face.key}_{end}.npy")
            if value is not None and value.size == 1 and value.item() != NO_NUMBER:
                metadata[field] = float(value.item())
        landmarks = _saved(self._annotations / f"{face.key}_lnd.npy")
        points = None if landmarks is None else _points(landmarks.reshape(-1).tolist())
        if points is not None:
            metadata["landmarks"] = points
        return read_sample(face.picture, face.key, self.size, metadata)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _points(values: list[Any]) -> np.ndarray | None:
    """float32 (68, 2) of x and y in turn; ``None`` where they are not so."""
    try:
        points = np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        return None
    return points.reshape(POINTS, 2) if points.size == 2 * POINTS and np.isfinite(points).all() else None


def _saved(path: Path) -> np.ndarray | None:
    """A saved array as float64, its numbers often written as texts; ``None`` where there is none."""
    try:
        values = np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, ValueError, EOFError):
        return None
    return values if np.isfinite(values).all() else None
