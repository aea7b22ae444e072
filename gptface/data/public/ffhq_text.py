"""FFHQ-Text (Zhou and Shimada 2021) as its read-me describes it: 760 portraits of FFHQ, nine descriptions each.

The main folder holds ``Image/`` (PNG, 1024 pixels), ``Text/`` (a TXT a picture, a description a line), a pickle of the
names of the training and one of the test pictures, ``bounding_boxes.txt`` and ``images.txt``. The data are given out on
request, and the read-me does not say in which case the folders are written nor what the pickles are called: both
spellings are taken, and for the pickles ``train/filenames.pickle``, as in the sets whose layout it follows,
``Train.pkl``, or the one pickle in ``Train/``. Boxes are number, left, top, width and height, and pictures number and
path, as in CUB-200-2011.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from gptface.data.public.annotation_tables import find_file
from gptface.data.public.caption_files import read_captions, read_pickled_names
from gptface.data.public.pictures import Pictures, PublishedFace, check_split, read_sample
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError

__all__ = ["FFHQText"]

SPLITS = ("train", "test")


class FFHQText(Pictures):
    """A map-style data set of ``Sample`` with ``metadata["captions"]`` and ``metadata["box"]`` of the face.

    A description that is missing makes a ``Skipped`` of its picture.

    Args:
        folder: as given out.
        split: ``train`` or ``test``; ``None``: all.
        size: side in pixels; ``None`` keeps the pictures' 1024.

    Raises:
        InputError: a folder or file is missing (it is named), or is not of its format (file and line).
    """

    def __init__(self, folder: str | os.PathLike[str], split: str | None = None, size: int | None = None) -> None:
        super().__init__(size)
        check_split(split, SPLITS)
        root = Path(folder)
        pictures = find_file(root, ("Image", "image"), "the folder of pictures")
        self.captions = find_file(root, ("Text", "text"), "the folder of descriptions")
        boxes = _read_boxes(root)
        chosen = (
            sorted(boxes) if split is None else [Path(name).stem for name in read_pickled_names(_list(root, split))]
        )
        if strange := next((name for name in chosen if name not in boxes), None):
            raise InputError(f"{root}: {strange}, a {split} picture, is not in images.txt")
        found: dict[str, object] = {} if split is None else {"split": split}
        self._faces = [PublishedFace(name, pictures / f"{name}.png", {"box": boxes[name], **found}) for name in chosen]

    def __getitem__(self, index: int) -> Sample | Skipped:
        face = self._faces[index]
        try:
            captions = read_captions(self.captions / f"{face.key}.txt")
        except InputError as error:
            return Skipped(face.key, "missing_caption", str(error))
        return read_sample(
            face.picture, face.key, self.size, {**face.metadata, "captions": captions}, None, captions[0]
        )


def _list(root: Path, split: str) -> Path:
    """The pickle with the names of a split."""
    title = split.capitalize()
    for place in (title, split):
        folder = root / place
        pickles = sorted({*folder.glob("*.pkl"), *folder.glob("*.pickle")}) if folder.is_dir() else []
        if len(pickles) > 1 and folder / "filenames.pickle" not in pickles:
            raise InputError(f"{folder}: holds {len(pickles)} pickles; one is needed, or filenames.pickle")
        if pickles:
            return folder / "filenames.pickle" if folder / "filenames.pickle" in pickles else pickles[0]
    names = [f"{place}.{suffix}" for place in (title, split) for suffix in ("pkl", "pickle")]
    return find_file(root, [*names, f"{title}/filenames.pickle"], f"the list of the {split} faces")


def _read_boxes(root: Path) -> dict[str, np.ndarray]:
    """float32 (4,) left, top, right, bottom by a picture's name without its suffix."""
    pictures = find_file(root, ("images.txt",), "the list of pictures")
    table = find_file(root, ("bounding_boxes.txt",), "the table of boxes")
    numbered = {int(float(fields[0])): Path(fields[1]).stem for fields in _lines(pictures, 2, "a number and a path", 1)}
    boxes: dict[str, np.ndarray] = {}
    for fields in _lines(table, 5, "a number, left, top, width and height", 5):
        left, top, width, height = (float(field) for field in fields[1:])
        name = numbered.get(int(float(fields[0])))
        if name is None:
            raise InputError(f"{table}: picture {fields[0]} is not in images.txt")
        boxes[name] = np.array([left, top, left + width, top + height], dtype=np.float32)
    if missing := next((name for name in numbered.values() if name not in boxes), None):
        raise InputError(f"{table}: has no box of {missing}")
    return boxes


def _lines(path: Path, count: int, what: str, numbers: int) -> list[list[str]]:
    """The fields of all lines that are not empty, the first ``numbers`` of them finite numbers."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not (fields := line.split()):
            continue
        try:
            whole = len(fields) == count and bool(np.isfinite([float(field) for field in fields[:numbers]]).all())
        except ValueError:
            whole = False
        if not whole or not float(fields[0]).is_integer():
            raise InputError(f"{path}, line {number}: allowed: {what}")
        rows.append(fields)
    if not rows:
        raise InputError(f"{path}: holds no line")
    return rows
