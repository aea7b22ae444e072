"""300-W (Sagonas et al. 2013) and WFLW (Wu et al. 2018) as they are published: faces in the wild with landmarks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from gptface.data.images import IMAGE_SUFFIXES
from gptface.data.public.annotation_tables import find_file
from gptface.data.public.pictures import Pictures, PublishedFace
from gptface.errors import InputError

__all__ = ["SPLITS_300W", "WFLW", "WFLW_ATTRIBUTES", "ThreeHundredW", "read_pts"]

# The usual protocol of 300-W: 3,148 faces to learn from, 554 common and 135 challenging ones to be measured on.
SPLITS_300W: dict[str, tuple[str, ...]] = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
}
WFLW_ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
"""The subsets of WFLW's test faces, in the order of their columns."""


class ThreeHundredW(Pictures):
    """300-W: a map-style data set of ``Sample`` with ``metadata["landmarks"]`` (68, 2).

    Args:
        folder: with ``afw``, ``helen``, ``lfpw`` and ``ibug`` as they are unpacked, pictures beside their ``.pts``.
        split: a name of ``SPLITS_300W``, or ``full``: common and challenging.
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' own.

    Raises:
        InputError: a folder is missing (it is named), or a file of points is not of its format.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str = "train", size: int | None = None) -> None:
        super().__init__(size)
        splits = {**SPLITS_300W, "full": (*SPLITS_300W["common"], *SPLITS_300W["challenging"])}
        if split not in splits:
            raise InputError(f"split: {split!r}; choose {', '.join(splits)}")
        for name in splits[split]:
            part = find_file(Path(folder), (name,), f"the part {name}")
            points = sorted(part.glob("*.pts"))
            if not points:
                raise InputError(f"{part}: holds no file of points (.pts)")
            for file in points:
                picture = next(
                    (file.with_suffix(end) for end in IMAGE_SUFFIXES if file.with_suffix(end).exists()), None
                )
                metadata = {"landmarks": read_pts(file, 68), "part": name}
                self._faces.append(PublishedFace(f"{name}/{file.stem}", picture or file.with_suffix(".jpg"), metadata))


def read_pts(path: Path, count: int) -> np.ndarray:
    """float32 (count, 2) of a ``.pts`` file, from pixels counted from 1 at their centres to a picture from 0 to W.

    Raises:
        InputError: another number of points, or no such file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        begin, end = text.index("{"), text.rindex("}")
        values = np.array(text[begin + 1 : end].split(), dtype=np.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no file of points ({error})") from None
    if values.size != 2 * count or not np.isfinite(values).all():
        raise InputError(f"{path}: {values.size / 2:g} points; allowed: {count}, all of them finite")
    return values.reshape(count, 2) - np.float32(0.5)


class WFLW(Pictures):
    """WFLW: a map-style data set of ``Sample`` with ``metadata["landmarks_98"]`` (98, 2), ``box`` and ``subsets``.

    A picture may hold several annotated faces, each a sample of its own. The 98 points are WFLW's own scheme: no other
    part of the package draws regions of them.

    Args:
        folder: with ``WFLW_images`` and ``WFLW_annotations`` as they are unpacked.
        split: ``train`` (7,500 faces) or ``test`` (2,500).
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' own.

    Raises:
        InputError: a file is missing (it is named), or a line is not of its format (file and line).
    """

    FIELDS = 2 * 98 + 4 + len(WFLW_ATTRIBUTES) + 1

    def __init__(self, folder: str | os.PathLike[str], split: str = "train", size: int | None = None) -> None:
        super().__init__(size)
        if split not in ("train", "test"):
            raise InputError(f"split: {split!r}; choose train, test")
        root = Path(folder)
        pictures = find_file(root, ("WFLW_images",), "the folder of pictures")
        lists = "list_98pt_rect_attr_train_test"
        name = f"list_98pt_rect_attr_{split}.txt"
        table = find_file(root, (f"WFLW_annotations/{lists}/{name}", f"{lists}/{name}", name), name)
        with open(table, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                fields = line.split()
                if not fields:
                    continue
                if len(fields) != self.FIELDS:
                    raise InputError(f"{table}, line {number}: {len(fields)} fields; allowed: {self.FIELDS}")
                try:
                    values = np.array(fields[:-1], dtype=np.float32)
                except ValueError:
                    raise InputError(f"{table}, line {number}: all but the picture's name must be numbers") from None
                subsets = [name for name, flag in zip(WFLW_ATTRIBUTES, values[200:], strict=True) if flag]
                metadata = {
                    "landmarks_98": values[:196].reshape(98, 2),
                    "box": values[196:200],
                    "subsets": subsets,
                }
                key = f"{fields[-1].rpartition('.')[0]}#{number}"
                self._faces.append(PublishedFace(key, pictures / fields[-1], metadata))
        if not self._faces:
            raise InputError(f"{table}: holds no face")
