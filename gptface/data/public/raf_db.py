"""RAF-DB's basic subset (Li et al. 2017) as it is published: 15,339 faces with one of seven expressions.

``EmoLabel/list_patition_label.txt`` (its authors' spelling) and ``Image/aligned/train_00001_aligned.jpg``, in
``basic/`` or at the top. Annotations of sex, race and age are not read.
"""

from __future__ import annotations

import os
from pathlib import Path

from gptface.data.public.annotation_tables import find_file, read_table
from gptface.data.public.pictures import Pictures, PublishedFace, check_split
from gptface.errors import InputError

__all__ = ["EXPRESSIONS_OF_RAF", "RAFDB"]

EXPRESSIONS_OF_RAF = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""By their number, from 1."""
SPLITS = ("train", "test")


class RAFDB(Pictures):
    """A map-style data set of ``Sample`` with ``metadata["expression"]``, a name of ``gptface.faces.EXPRESSIONS``.

    The pictures are the published aligned ones, 100 × 100 pixels.

    Args:
        folder: as published.
        split: ``train`` (12,271 faces) or ``test`` (3,068), by the pictures' names; ``None``: all. There is no
            published validation split.
        size: side in pixels; ``None`` keeps the pictures' own.

    Raises:
        InputError: a file is missing (it is named), or is not of its format (file and line).
    """

    def __init__(self, folder: str | os.PathLike[str], split: str | None = None, size: int | None = None) -> None:
        super().__init__(size)
        check_split(split, SPLITS)
        root = Path(folder)
        places = ("", "basic/")
        listed = ("list_patition_label.txt", "list_partition_label.txt")
        lists = [f"{place}EmoLabel/{name}" for place in places for name in listed]
        path = find_file(root, lists, "the list of expressions")
        pictures = find_file(root, [f"{place}Image/aligned" for place in places], "the folder of aligned pictures")
        names, labels, _ = read_table(path, 1, 0, "number of an expression")
        for name, label in zip(names, labels[:, 0].tolist(), strict=True):
            stem, part = name.rpartition(".")[0], name.partition("_")[0]
            if part not in SPLITS or not stem:
                raise InputError(f"{path}: {name!r}; a picture's name begins with train_ or test_")
            if not 1 <= label <= len(EXPRESSIONS_OF_RAF):
                raise InputError(f"{path}: {name} has expression {label}; allowed: 1 to {len(EXPRESSIONS_OF_RAF)}")
            if split in (None, part):
                metadata = {"expression": EXPRESSIONS_OF_RAF[label - 1], "split": part}
                self._faces.append(PublishedFace(stem, pictures / f"{stem}_aligned.jpg", metadata))
        if not self._faces:
            raise InputError(f"{path}: holds no face of the split {split}")
