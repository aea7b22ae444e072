"""The 68 facial landmarks of samples, whatever scheme they were found in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gptface.data.sample import Sample
from gptface.faces.landmark_correspondence import landmarks_68_of_468
from gptface.faces.landmark_schemes import SCHEMES

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["known_landmarks", "mirrored_landmarks"]


def known_landmarks(samples: Sequence[Sample]) -> np.ndarray:
    """float32 (n, 68, 2) of ``metadata["landmarks"]``, pixels; rows of NaN where there are none, or five only.

    The 468 points of a face mesh are read as the 68 (:mod:`gptface.faces.landmark_correspondence`).
    """
    found = np.full((len(samples), 68, 2), np.nan, dtype=np.float32)
    for row, sample in zip(found, samples, strict=True):
        points = sample.metadata.get("landmarks")
        if points is None:
            continue
        points = np.asarray(points, dtype=np.float32)
        if points.shape[0] == 468:
            points = landmarks_68_of_468(points)
        if points.shape == row.shape and np.isfinite(points).all():
            row[:] = points
    return found


def mirrored_landmarks(points: Tensor, width: float) -> Tensor:
    """Landmarks (B, 68, 2) of the mirror images of pictures ``width`` pixels wide, in the same order of meaning."""
    turned = points[:, list(SCHEMES[68].mirrored)]
    turned[..., 0] = width - turned[..., 0]
    return turned
