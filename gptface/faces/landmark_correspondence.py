"""The 68 landmarks of 300-W read off the 468 points of MediaPipe's face mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gptface.errors import InputError
from gptface.faces.landmark_schemes import SCHEMES

__all__ = ["landmarks_68_of_468"]

if TYPE_CHECKING:
    import torch

Points = TypeVar("Points", "np.ndarray", "torch.Tensor")

# Landmarks on the image's left and on the line of symmetry: the mesh point, or the two whose middle it is. Eyes, brows,
# lips and nose by what they mean; the jaw's seventeen points at even steps along the mesh's oval, from the level of the
# eyes to the chin. The others are mirror images.
_HALF: dict[int, tuple[int, ...]] = {
    0: (162, 127), 1: (127, 234), 2: (93,), 3: (132, 58), 4: (172,), 5: (150,), 6: (149,), 7: (148,), 8: (152,),
    17: (70,), 18: (63,), 19: (105,), 20: (66,), 21: (107,),
    27: (168, 6), 28: (197,), 29: (195, 5), 30: (4,), 31: (98, 97), 32: (97,), 33: (2,),
    36: (33,), 37: (160,), 38: (158,), 39: (133,), 40: (153,), 41: (144,),
    48: (61,), 49: (39,), 50: (37,), 51: (0,), 57: (17,), 58: (84,), 59: (91, 181),
    60: (78,), 61: (81,), 62: (13,), 66: (14,), 67: (178,),
}


def _pairs() -> tuple[list[int], list[int]]:
    """For each of the 68 landmarks the two mesh points (one of them twice, where it is one) whose middle it is."""
    pairs = [(0, 0)] * 68
    across, mirrored = SCHEMES[468].mirrored, SCHEMES[68].mirrored
    for landmark, points in _HALF.items():
        first, second = points[0], points[-1]
        pairs[landmark] = (first, second)
        if mirrored[landmark] != landmark:
            pairs[mirrored[landmark]] = (across[first], across[second])
    return [first for first, _ in pairs], [second for _, second in pairs]


_FIRST, _SECOND = _pairs()


def landmarks_68_of_468(points: Points) -> Points:
    """The 68 landmarks ``(..., 68, D)`` of mesh points ``(..., 468, D)``, an array or a tensor of floats.

    The mesh has no point on the outline of a turned face's far cheek: the jaw's landmarks are points of the surface,
    as a morphable model's are, not of the outline as people mark them in photos.

    Raises:
        InputError: another number of points.
    """
    if points.ndim < 2 or points.shape[-2] != 468:
        raise InputError(f"points have the shape {tuple(points.shape)}; it must be (..., 468, 2 or 3)")
    return 0.5 * (points[..., _FIRST, :] + points[..., _SECOND, :])
