"""Which public data set a folder is, by what lies in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gptface.data.public import affectnet, aflw, caption_tables, celeba_dialog, multimodal_celeba
from gptface.data.public.celeba import CelebA
from gptface.data.public.celebamask import CelebAMaskHQ
from gptface.data.public.fer_plus import FERPlus
from gptface.data.public.ffhq_text import FFHQText
from gptface.data.public.landmark_sets import WFLW, ThreeHundredW
from gptface.data.public.lapa import LaPa
from gptface.data.public.raf_db import RAFDB
from gptface.data.sample import Samples
from gptface.errors import InputError

__all__ = ["PUBLIC_SETS", "TEST_SPLITS", "open_public_set", "recognise"]

Opening = Callable[[str | os.PathLike[str], str, int | None], Samples]

_DIALOGS = tuple(f"{place}captions{end}.json" for end in ("", "_hq") for place in celeba_dialog.FOLDERS)
_RAF_LISTS = tuple(f"{place}EmoLabel" for place in ("", "basic/"))

# Name -> what is sought in the folder (every group one of its paths), and what reads it.
PUBLIC_SETS: dict[str, tuple[tuple[tuple[str, ...], ...], Opening]] = {
    "CelebAMask-HQ": ((("CelebA-HQ-img", "CelebAMask-HQ-mask-anno"),), CelebAMaskHQ),
    "CelebA": ((("img_align_celeba", "Img/img_align_celeba"),), CelebA),
    "WFLW": ((("WFLW_images", "WFLW_annotations"),), WFLW),
    "300-W": ((("ibug", "afw"), ("helen", "lfpw")), ThreeHundredW),
    "LaPa": ((("train/labels", "val/labels", "test/labels"),), LaPa),
    "AFLW-19": ((aflw.TABLES,), aflw.AFLW19),
    "RAF-DB": ((_RAF_LISTS,), RAFDB),
    "AffectNet": ((("train_set", "val_set", *affectnet.PICTURES),), affectnet.AffectNet),
    "FER+": ((("fer2013new.csv",),), FERPlus),
    "Multi-Modal CelebA-HQ": ((multimodal_celeba.CAPTION_FOLDERS,), multimodal_celeba.MultiModalCelebAHQ),
    "CelebA-Dialog": ((_DIALOGS,), celeba_dialog.CelebADialog),
    "FFHQ-Text": ((("bounding_boxes.txt",), ("Text", "text"), ("Image", "image")), FFHQText),
    "FaceCaption-15M": ((caption_tables.FACE_TABLES,), caption_tables.CaptionTable),
    "HumanCaption-10M": ((caption_tables.HUMAN_TABLES,), caption_tables.CaptionTable),
}


TEST_SPLITS: dict[str, str] = {"AffectNet": "validation", "300-W": "full"}
"""The split that papers report on, of sets that have none called ``test``."""


def possible_sets(folder: str | os.PathLike[str]) -> list[str]:
    """The public sets whose files a folder holds, by name; none for any other folder, or where there is none."""
    root = Path(folder)
    return [
        name
        for name, (groups, _) in PUBLIC_SETS.items()
        if all(any((root / path).exists() for path in group) for group in groups)
    ]


def recognise(folder: str | os.PathLike[str]) -> str:
    """The name of the public set that a folder holds, a key of ``PUBLIC_SETS``.

    Raises:
        InputError: there is no such folder, it is none of them, or several (descriptions are often put beside the
            pictures of another set): the sentence names them.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder")
    found = possible_sets(folder)
    if len(found) > 1:
        raise InputError(f"{folder}: may be {' or '.join(found)}; say which of them is meant (name)")
    if not found:
        sought = "; ".join(f"{name}: {' or '.join(groups[0])}" for name, (groups, _) in PUBLIC_SETS.items())
        raise InputError(f"{folder}: no public set that is known by its folders ({sought})")
    return found[0]


def open_public_set(
    folder: str | os.PathLike[str], split: str = "train", size: int | None = None, name: str | None = None
) -> Samples:
    """The samples of a public set as it is published, whichever it is.

    Args:
        split: of that set: ``train``, ``validation``, ``test`` of those that it has; 300-W has ``train``, ``common``,
            ``challenging``, ``full``; AFLW-19 ``train``, ``test``, ``frontal``.
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' own.
        name: a key of ``PUBLIC_SETS``, where a folder holds more than one; ``None``: by what lies in it.

    Raises:
        InputError: as of :func:`recognise`; no such name; a file is missing or is not of its format.
    """
    if name is not None and name not in PUBLIC_SETS:
        raise InputError(f"name: {name!r}; choose {', '.join(PUBLIC_SETS)}")
    return PUBLIC_SETS[name or recognise(folder)][1](folder, split, size)
