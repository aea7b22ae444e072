"""CelebA-Dialog (Jiang et al. 2021): CelebA's pictures with a description, and degrees of five attributes from 0 to 5.

Two editions, each with its own names of files: over CelebA (``captions.json``, ``combined_annotation.txt``; pictures in
``img_align_celeba/``) and over CelebA-HQ (``captions_hq.json``, ``combined_annotation_hq.txt``; pictures in
``image/``). The files come from one shared folder and are unpacked as one likes: they are sought at the top and in the
folders of ``FOLDERS``.

The authors' table names two of the five attributes ``No_Beard`` and ``Young``, and no document says which end of their
degrees is which. The degrees are handed on as they are written, apart from ``attributes``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from gptface.data.public.annotation_tables import find_file, read_table
from gptface.data.public.caption_files import clean, read_json_object
from gptface.data.public.celeba import SPLITS
from gptface.data.public.celebamask import read_original_numbers, split_of_original
from gptface.data.public.pictures import Pictures, PublishedFace, check_split
from gptface.errors import InputError

__all__ = ["DEGREES", "FOLDERS", "CelebADialog"]

DEGREES = ("Bangs", "Eyeglasses", "No_Beard", "Smiling", "Young")
FOLDERS = ("", "text/", "text_hq/", "metadata/", "classification_label/", "Anno/")
PICTURES = ("img_align_celeba", "Img/img_align_celeba")
PICTURES_HQ = ("image", "images_hq/image", "CelebA-HQ-img")
MOST = 5


class CelebADialog(Pictures):
    """A map-style data set of ``Sample`` with a caption, ``metadata["attribute_captions"]`` and ``["degrees"]``.

    ``attribute_captions`` has a sentence for each of ``DEGREES`` that is described. A picture without a description is
    no part of the set.

    Args:
        folder: with pictures, descriptions and, where there is one, the table of degrees.
        split: one of ``SPLITS``, which are CelebA's, by ``list_eval_partition.txt`` or, over CelebA-HQ,
            ``CelebA-HQ-to-CelebA-mapping.txt`` in the folder; CelebA-Dialog publishes none. ``None``: all.
        size: side in pixels; ``None`` keeps the pictures' own.

    Raises:
        InputError: a file is missing (it is named), or is not of its format (file and line, or picture).
    """

    def __init__(self, folder: str | os.PathLike[str], split: str | None = None, size: int | None = None) -> None:
        super().__init__(size)
        check_split(split, SPLITS)
        root = Path(folder)
        high = _sought(root, "captions_hq.json") is not None
        ending = "_hq" if high else ""
        names = [f"{place}captions{ending}.json" for place in FOLDERS]
        path = find_file(root, names, f"captions{ending}.json")
        pictures = find_file(root, PICTURES_HQ if high else PICTURES, "the folder of pictures")
        described = read_json_object(path)
        degrees = _read_degrees(_sought(root, f"combined_annotation{ending}.txt"))
        wanted = None if split is None else SPLITS.index(split)
        numbers = None if wanted is None else _split_numbers(root, list(described), high)
        for name, entry in described.items():
            if numbers is not None and numbers[name] != wanted:
                continue
            captions, metadata = _description(entry, f"{path}, {name}")
            if name in degrees:
                metadata["degrees"] = degrees[name]
            if split is not None:
                metadata["split"] = split
            self._faces.append(PublishedFace(Path(name).stem, pictures / name, metadata, captions))
        if not self._faces:
            raise InputError(f"{path}: describes no picture of the split {split}")


def _sought(root: Path, name: str) -> Path | None:
    return next((root / f"{place}{name}" for place in FOLDERS if (root / f"{place}{name}").exists()), None)


def _description(entry: Any, where: str) -> tuple[str, dict[str, Any]]:
    parts = entry.get("attribute_wise_captions") if isinstance(entry, dict) else None
    overall = entry.get("overall_caption") if isinstance(entry, dict) else None
    if not isinstance(overall, str) or not isinstance(parts, dict | None):
        raise InputError(f"{where}: allowed: an overall_caption, and attribute_wise_captions by attribute")
    lines = {name: line for name, text in (parts or {}).items() if isinstance(text, str) for line in clean([text])}
    return " ".join(clean([overall])), {"attribute_captions": lines}


def _read_degrees(path: Path | None) -> dict[str, dict[str, int]]:
    """Degrees by picture; empty without a table."""
    if path is None:
        return {}
    titled = not _begins_with_a_row(path)
    names, values, titles = read_table(path, len(DEGREES), 1 if titled else 0, "degrees")
    titles = titles[-len(DEGREES) :] if titled else list(DEGREES)
    if sorted(titles) != sorted(DEGREES):
        raise InputError(f"{path}: degrees of {', '.join(titles)}; allowed: {', '.join(DEGREES)}")
    if values.min() < 0 or values.max() > MOST:
        raise InputError(f"{path}: degrees from {values.min()} to {values.max()}; allowed: 0 to {MOST}")
    return {name: dict(zip(titles, map(int, row), strict=True)) for name, row in zip(names, values, strict=True)}


def _begins_with_a_row(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return all(field.isdigit() for field in file.readline().split()[1:])


def _split_numbers(root: Path, names: list[str], high: bool) -> dict[str, int]:
    """The number of CelebA's split by picture."""
    if high:
        mapping = "CelebA-HQ-to-CelebA-mapping.txt"
        path = find_file(root, [f"{place}{mapping}" for place in FOLDERS], f"{mapping}, by which there are splits,")
        originals = read_original_numbers(path)
        missing = next((name for name in names if _number(name) not in originals), None)
        found = {name: int(split_of_original(np.array(originals[_number(name)]))) for name in names if missing is None}
    else:
        partition = "list_eval_partition.txt"
        places = [f"{place}{partition}" for place in (*FOLDERS, "Eval/")]
        path = find_file(root, places, f"{partition}, by which there are splits,")
        listed, values, _ = read_table(path, 1, 0, "number of a split")
        found = dict(zip(listed, map(int, values[:, 0]), strict=True))
        missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise InputError(f"{path}: has no line for {missing}, which is described")
    return found


def _number(name: str) -> int:
    stem = Path(name).stem
    return int(stem) if stem.isdigit() else -1
