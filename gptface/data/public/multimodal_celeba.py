"""Multi-Modal CelebA-HQ (Xia et al. 2021) as it is published: CelebA-HQ's 30,000 portraits, ten descriptions each.

``image/images/N.jpg``, ``text/celeba-caption/N.txt`` with a description a line, ``train/filenames.pickle`` and
``test/filenames.pickle``. Its authors publish the pictures at 512 pixels; CelebAMask-HQ's ``CelebA-HQ-img/`` has the
same numbers and is taken where it lies in the folder instead, as the descriptions are where they lie at its top.
"""

from __future__ import annotations

import os
from pathlib import Path

from gptface.data.public.annotation_tables import find_file
from gptface.data.public.caption_files import read_captions, read_pickled_names
from gptface.data.public.pictures import Pictures, PublishedFace, check_split, read_sample
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError

__all__ = ["CAPTION_FOLDERS", "MultiModalCelebAHQ"]

CAPTION_FOLDERS = ("text/celeba-caption", "celeba-caption")
PICTURE_FOLDERS = ("image/images", "images", "CelebA-HQ-img")
SPLITS = ("train", "test")


class MultiModalCelebAHQ(Pictures):
    """A map-style data set of ``Sample`` with ``metadata["captions"]``: an image has them in turn.

    A description that is missing makes a ``Skipped`` of its picture.

    Args:
        folder: as published.
        split: ``train`` (24,000 faces) or ``test`` (6,000); ``None``: every picture that has descriptions.
        size: side in pixels; ``None`` keeps the pictures' own.

    Raises:
        InputError: a folder or list is missing (it is named), or is not of its format.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str | None = None, size: int | None = None) -> None:
        super().__init__(size)
        check_split(split, SPLITS)
        root = Path(folder)
        pictures = find_file(root, PICTURE_FOLDERS, "the folder of pictures")
        self.captions = find_file(root, CAPTION_FOLDERS, "the folder of descriptions")
        if split is None:
            names = sorted((path.stem for path in self.captions.glob("*.txt")), key=lambda name: (len(name), name))
        else:
            lists = (f"{split}/filenames.pickle", f"text/{split}/filenames.pickle")
            names = read_pickled_names(find_file(root, lists, f"the list of the {split} faces"))
            if odd := next((name for name in names if not name.isdigit()), None):
                raise InputError(f"{root / lists[0]}: {odd!r} is no number of a picture")
        if not names:
            raise InputError(f"{self.captions}: holds no description (.txt)")
        found: dict[str, object] = {} if split is None else {"split": split}
        self._faces = [PublishedFace(name, pictures / f"{name}.jpg", dict(found)) for name in names]

    def __getitem__(self, index: int) -> Sample | Skipped:
        face = self._faces[index]
        try:
            captions = read_captions(self.captions / f"{face.key}.txt")
        except InputError as error:
            return Skipped(face.key, "missing_caption", str(error))
        return read_sample(
            face.picture, face.key, self.size, {**face.metadata, "captions": captions}, None, captions[0]
        )
