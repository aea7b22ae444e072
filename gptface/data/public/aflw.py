"""AFLW-19 (Zhu et al. 2016): 24,386 faces of AFLW (Köstinger et al. 2011) with 19 landmarks and their visibility.

The table is ``AFLWinfo_release.mat``, published apart from AFLW's pictures, which lie in ``flickr/0``, ``2`` and ``3``.
Its ``ra`` orders the faces: the first 20,000 are to learn from, the others to be measured on, of which those with all
19 points visible are the frontal subset. The table does not say from where its coordinates are counted; they are handed
on as they are, as FaRL's harness takes them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from gptface.data.public.annotation_tables import find_file
from gptface.data.public.pictures import Pictures, PublishedFace, check_split
from gptface.errors import InputError

__all__ = ["AFLW19", "SPLITS"]

SPLITS = ("train", "test", "frontal")
POINTS = 19
TRAINING_FACES = 20_000
TABLES = ("AFLWinfo_release.mat", "aflw-19/AFLWinfo_release.mat")
PICTURES = ("flickr", "data/flickr", "aflw/data/flickr", "aflw-21/data/flickr", "images")


class AFLW19(Pictures):
    """A map-style data set of ``Sample`` with ``metadata["landmarks_19"]`` (19, 2), ``visible`` (19,) and ``box``.

    Points that are not visible have places too, guessed by who marked them. The 19 points are a scheme of their own: no
    other part of the package draws regions of them.

    Args:
        folder: with the table and AFLW's pictures.
        split: one of ``SPLITS``: ``test`` is AFLW-Full, ``frontal`` AFLW-Frontal; ``None``: all.
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' own.

    Raises:
        InputError: the table or the pictures' folder is missing (it is named), the table is not of its format, or SciPy
            is absent.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str | None = None, size: int | None = None) -> None:
        super().__init__(size)
        check_split(split, SPLITS)
        root = Path(folder)
        path = find_file(root, TABLES, "the table of landmarks")
        pictures = find_file(root, PICTURES, "the folder of pictures")
        table = _read_table(path)
        order = table["ra"].reshape(-1) - 1
        if split is not None:
            order = order[:TRAINING_FACES] if split == "train" else order[TRAINING_FACES:]
        if split == "frontal":
            order = order[(table["mask_new"][order] == 1).all(1)]
        if not len(order):
            raise InputError(f"{path}: holds no face of the split {split}")
        for row in order.tolist():
            name = str(np.asarray(table["nameList"][row, 0]).reshape(-1)[0])
            left, right, top, bottom = table["bbox"][row].astype(np.float32)
            metadata: dict[str, Any] = {
                "landmarks_19": table["data"][row].astype(np.float32).reshape(2, POINTS).T.copy(),
                "visible": table["mask_new"][row] == 1,
                "box": np.array([left, top, right, bottom]),
            }
            self._faces.append(PublishedFace(f"{name.rpartition('.')[0]}#{row}", pictures / name, metadata))


def _read_table(path: Path) -> dict[str, np.ndarray]:
    """The five arrays of the table, their shapes checked."""
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError:
        raise InputError(f'{path}: .mat files need SciPy: pip install "gptface[morphable]"') from None
    names = ("nameList", "bbox", "data", "mask_new", "ra")
    try:
        table = loadmat(path, variable_names=names)
    except Exception as error:  # a broken file fails in any way there is
        raise InputError(f"{path}: no MATLAB file that can be read ({error})") from None
    if missing := [name for name in names if name not in table]:
        raise InputError(f"{path}: has no {missing[0]}; needed: {', '.join(names)}")
    count = len(table["bbox"])
    shapes = {"nameList": (count, 1), "bbox": (count, 4), "data": (count, 2 * POINTS), "mask_new": (count, POINTS)}
    for name, shape in shapes.items():
        if table[name].shape != shape or (name != "nameList" and not np.isfinite(table[name].astype(float)).all()):
            raise InputError(f"{path}: {name} is {table[name].shape}; needed: {shape}, finite")
    order = table["ra"].reshape(-1).astype(np.int64)
    if not len(order) or order.min() < 1 or order.max() > count:
        raise InputError(f"{path}: ra must number faces from 1 to {count}")
    return {**{name: table[name] for name in names}, "ra": order}
