"""Parameters of photos that fit their landmarks: what pseudo-labels are, found once and kept in a file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gptface.data.batches import FaceBatch
from gptface.data.cache import FaceCache
from gptface.data.known_landmarks import mirrored_landmarks
from gptface.errors import InputError
from gptface.files import atomic_write
from gptface.morphable import MorphableModel, fit_landmarks
from gptface.systems.facegpt.layout import FaceLayout

__all__ = ["PseudoLabels", "fit_pseudo_labels"]

AT_A_TIME = 512
"""Photos fitted together; after each such lot, what is done is on the disk."""
LARGEST_ERROR = 0.1
"""Of :attr:`LandmarkFit.error`: what fits worse is no face, or not this one, and has no label."""


class PseudoLabels:
    """Numbers of faces (:class:`FaceLayout`) by sample, for the photo and for its mirror image.

    Args:
        sample_ids: int64 (n,).
        numbers: float32 (n, 2, ``size``); NaN for what is not known, such as colours and light.
    """

    def __init__(self, sample_ids: np.ndarray, numbers: np.ndarray) -> None:
        self.sample_ids = sample_ids
        self.numbers = numbers
        self._order = np.argsort(sample_ids, kind="stable")

    @classmethod
    def read(cls, path: Path, size: int) -> PseudoLabels:
        """Those of an .npz file.

        Raises:
            InputError: there is none, or it is of another kind.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                sample_ids, numbers = arrays["sample_ids"], arrays["numbers"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"pseudo_label_file: {path}: is not a readable file of pseudo-labels ({error})") from None
        if sample_ids.ndim != 1 or sample_ids.dtype != np.int64 or numbers.shape != (len(sample_ids), 2, size):
            raise InputError(
                f"pseudo_label_file: {path}: numbers are {numbers.shape} for {len(sample_ids)} samples; allowed: "
                f"({len(sample_ids)}, 2, {size}) for this model and morphable model"
            )
        return cls(sample_ids, numbers.astype(np.float32))

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, sample_ids=self.sample_ids, numbers=self.numbers)

    def __len__(self) -> int:
        """How many photos have a label."""
        return int(np.isfinite(self.numbers).any((1, 2)).sum())

    def __call__(self, photos: FaceBatch) -> Tensor:
        """float32 (B, ``size``) of photos, NaN for those without a label."""
        ids = photos.sample_ids.cpu().numpy()
        places = np.searchsorted(self.sample_ids, ids, sorter=self._order).clip(max=len(self.sample_ids) - 1)
        rows = self._order[places]
        found = self.numbers[rows, photos.mirrored.cpu().numpy().astype(np.int64)]
        return torch.from_numpy(np.where((self.sample_ids[rows] == ids)[:, None], found, np.float32(np.nan)))


def fit_pseudo_labels(
    cache: FaceCache,
    model: MorphableModel,
    layout: FaceLayout,
    path: Path,
    report: Callable[[float, str], None] | None = None,
) -> PseudoLabels:
    """The labels of all photos with landmarks, from ``path`` where they are there already.

    Lot by lot is written to the disk, so that what was stopped goes on. Colours and light are not fitted.

    Args:
        cache: the photos.
        model: with 68 landmarks.
        layout: of the numbers.
        path: .npz to be written.
        report: is told the share done and a word.

    Raises:
        InputError: no photo has landmarks, the model has none, or the file is of other photos.
    """
    known = np.isfinite(cache.landmarks).all((1, 2))
    if not known.any():
        raise InputError(
            "pseudo_labels: no photo has landmarks to fit; name files of them in data.landmarks, or turn it off"
        )
    done = PseudoLabels.read(path, layout.size) if path.is_file() else None
    if done is not None and not np.array_equal(done.sample_ids, cache.sample_ids[: len(done.sample_ids)]):
        raise InputError(f"pseudo_label_file: {path}: is of other photos; remove it to have them fitted anew")
    parts = [] if done is None else [done.numbers]
    first = 0 if done is None else len(done.numbers)
    side = cache.images.shape[2]
    for start in range(first, len(cache), AT_A_TIME):
        points = torch.from_numpy(cache.landmarks[start : start + AT_A_TIME])
        rows = torch.from_numpy(known[start : start + AT_A_TIME]).nonzero().flatten()
        numbers = torch.full((len(points), 2, layout.size), torch.nan)
        for turned in range(2 if len(rows) else 0):
            own = points[rows]
            fit = fit_landmarks(model, mirrored_landmarks(own, side) if turned else own, side, side)
            found = layout.numbers(fit.parameters).float()
            for unfitted in ("albedo", "light"):
                found[:, layout.slices[unfitted]] = torch.nan
            found[fit.error > LARGEST_ERROR] = torch.nan
            numbers[rows, turned] = found
        parts.append(numbers.numpy())
        labels = PseudoLabels(cache.sample_ids[: start + len(points)], np.concatenate(parts))
        labels.save(path)
        if report is not None:
            report((start + len(points)) / len(cache), "pseudo-labels")
    return PseudoLabels(cache.sample_ids, np.concatenate(parts))
