"""Which public data set a folder is, by what lies in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gptface.data.public.celeba import CelebA
from gptface.data.public.celebamask import CelebAMaskHQ
from gptface.data.public.landmark_sets import WFLW, ThreeHundredW
from gptface.data.public.lapa import LaPa
from gptface.data.sample import Samples
from gptface.errors import InputError

__all__ = ["PUBLIC_SETS", "open_public_set", "recognise"]

Opening = Callable[[str | os.PathLike[str], str, int | None], Samples]

# Name -> what is sought in the folder (every group one of its paths), and what reads it.
PUBLIC_SETS: dict[str, tuple[tuple[tuple[str, ...], ...], Opening]] = {
    "CelebAMask-HQ": ((("CelebA-HQ-img", "CelebAMask-HQ-mask-anno"),), CelebAMaskHQ),
    "CelebA": ((("img_align_celeba", "Img/img_align_celeba"),), CelebA),
    "WFLW": ((("WFLW_images", "WFLW_annotations"),), WFLW),
    "300-W": ((("ibug", "afw"), ("helen", "lfpw")), ThreeHundredW),
    "LaPa": ((("train/labels", "val/labels", "test/labels"),), LaPa),
}


def recognise(folder: str | os.PathLike[str]) -> str:
    """The name of the public set that a folder holds, a key of ``PUBLIC_SETS``.

    Raises:
        InputError: there is no such folder, or it is none of them.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{folder}: no such folder")
    for name, (groups, _) in PUBLIC_SETS.items():
        if all(any((root / path).exists() for path in group) for group in groups):
            return name
    sought = "; ".join(f"{name}: {' or '.join(groups[0])}" for name, (groups, _) in PUBLIC_SETS.items())
    raise InputError(f"{folder}: no public set that is known by its folders ({sought})")


def open_public_set(folder: str | os.PathLike[str], split: str = "train", size: int | None = None) -> Samples:
    """The samples of a public set as it is published, whichever it is.

    Args:
        split: of that set: ``train``, ``validation``, ``test``; 300-W has ``train``, ``common``, ``challenging``,
            ``full``; WFLW ``train`` and ``test``.
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' own.

    Raises:
        InputError: as of :func:`recognise`; a file is missing or is not of its format.
    """
    return PUBLIC_SETS[recognise(folder)][1](folder, split, size)
