"""What facial landmarks mean: for each scheme the polygons of its regions, and which point mirrors which.

Three schemes, told apart by their number of points; in each the image's left comes before its right:

- 5, as in CelebA and MTCNN: eyes, tip of the nose, corners of the mouth;
- 68, as in 300-W and dlib: jaw, brows, nose, eyes, mouth;
- 468, the face mesh of MediaPipe (Kartynnik et al. 2019), whose points are numbered by its canonical face and grouped
  by its published contours. Its ten further points of the irises, 468 to 477, are no part of it.

Of WFLW's 98 points it is known which mirrors which, in ``MIRRORED``, and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["MIRRORED", "SCHEMES", "LandmarkScheme"]

Polygons = list[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class LandmarkScheme:
    """One scheme.

    Attributes:
        mirrored: which point of the original becomes each point of the mirrored face.
        polygons: from points ``(N, 2)`` to (region, corners ``(n, 2)``), in the order in which they are painted.
    """

    mirrored: tuple[int, ...]
    polygons: Callable[[np.ndarray], Polygons]


def _swapped(count: int, *pairs: tuple[int, int]) -> tuple[int, ...]:
    order = list(range(count))
    for left, right in pairs:
        order[left], order[right] = right, left
    return tuple(order)


def _ellipse(
    centre: np.ndarray, across: np.ndarray, down: np.ndarray, start: float = 0, stop: float = 360
) -> np.ndarray:
    """Points of the (arc of the) ellipse with half-axes ``across`` and ``down``; degrees, from across towards down."""
    angle = np.deg2rad(np.linspace(start, stop, 33))[:, None]
    return centre + np.cos(angle) * across + np.sin(angle) * down


def _eye(lids: np.ndarray) -> np.ndarray:
    """The polygon of the lids, widened, since their edges belong to the eye."""
    return lids.mean(0) + 1.15 * (lids - lids.mean(0))


# --- 5 points


def _polygons_5(p: np.ndarray) -> Polygons:
    eyes, mouth = (p[0] + p[1]) / 2, (p[3] + p[4]) / 2
    across = p[1] - p[0]  # all lengths below are shares of the distance between the eyes
    down = np.array([-across[1], across[0]])
    half_mouth = (p[4] - p[3]) / 2
    polygons = [("skin", _ellipse(eyes + 0.4 * (mouth - eyes), 1.05 * across, 1.45 * down))]
    polygons.append(("nose", np.stack([eyes, p[2] - 0.28 * across + 0.1 * down, p[2] + 0.28 * across + 0.1 * down])))
    polygons.append(("mouth", _ellipse(mouth, 1.1 * half_mouth, 0.2 * down)))
    for eye in (p[0], p[1]):
        polygons.append(("brows", _ellipse(eye - 0.33 * down, 0.34 * across, 0.08 * down)))
        polygons.append(("eyes", _ellipse(eye, 0.26 * across, 0.13 * down)))
    return polygons


# --- 68 points

# Chains that are symmetric about their own middle: jaw, brows, base of the nose, lips from above and from below.
_CHAINS_68 = (*((0, 16), (17, 26), (31, 35)), *((48, 54), (55, 59), (60, 64), (65, 67)))
_EYES_68 = ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))


def _mirrored_68() -> tuple[int, ...]:
    chains = [(first + step, last - step) for first, last in _CHAINS_68 for step in range((last - first + 1) // 2)]
    return _swapped(68, *chains, *_EYES_68)


def _polygons_68(p: np.ndarray) -> Polygons:
    left, right = p[36:42].mean(0), p[42:48].mean(0)
    down = p[8] - (p[0] + p[16]) / 2
    across = (p[16] - p[0]) / 2
    eye_distance = float(np.linalg.norm(right - left))
    upright = down / max(float(np.linalg.norm(down)), 1e-9)
    half_brow = upright * eye_distance * 0.06
    forehead = _ellipse((p[0] + p[16]) / 2, across, -0.8 * down, 0, 180)
    nose = np.stack([p[27], p[31] - 0.04 * (right - left), *p[31:36], p[35] + 0.04 * (right - left)])
    brows = [np.concatenate([brow - half_brow, (brow + half_brow)[::-1]]) for brow in (p[17:22], p[22:27])]
    return [
        ("skin", np.concatenate([p[0:17], forehead])),
        ("nose", nose),
        ("mouth", p[48:60]),
        *(("brows", brow) for brow in brows),
        *(("eyes", _eye(lids)) for lids in (p[36:42], p[42:48])),
    ]


# --- 468 points

# Points on the line of symmetry. The others up to 247 lie on the image's left (a face's right), and from 248 on come
# their mirror images, in the same order.
_MIDLINE_468 = (*(0, 1, 2, 4, 5, 6), *range(8, 20), *(94, 151, 152, 164, 168, 175, 195, 197, 199, 200))
# Halves of the outlines, on the image's left, from above to below or from the outside to the inside.
_OVAL_468 = (10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
_NOSE_468 = (168, 48, 64, 98, 97, 2)
_UPPER_LIP_468, _LOWER_LIP_468 = (61, 185, 40, 39, 37, 0), (61, 146, 91, 181, 84, 17)
_BROW_468 = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
_EYE_468 = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)


def _mirrored_468() -> tuple[int, ...]:
    left = [point for point in range(248) if point not in _MIDLINE_468]
    return _swapped(468, *zip(left, range(248, 468), strict=True))


def _polygons_468(p: np.ndarray) -> Polygons:
    mirrored = p[list(SCHEMES[468].mirrored)]

    def both(half: tuple[int, ...]) -> np.ndarray:
        """The closed outline of half a one that begins and ends on the line of symmetry."""
        return np.concatenate([p[list(half)], mirrored[list(half[-2:0:-1])]])

    lips = (*_UPPER_LIP_468[::-1], *_LOWER_LIP_468[1:])
    return [
        ("skin", both(_OVAL_468)),
        ("nose", both(_NOSE_468)),
        ("mouth", both(lips)),
        *(("brows", points[list(_BROW_468)]) for points in (p, mirrored)),
        *(("eyes", _eye(points[list(_EYE_468)])) for points in (p, mirrored)),
    ]


SCHEMES: dict[int, LandmarkScheme] = {
    5: LandmarkScheme(_swapped(5, (0, 1), (3, 4)), _polygons_5),
    68: LandmarkScheme(_mirrored_68(), _polygons_68),
    468: LandmarkScheme(_mirrored_468(), _polygons_468),
}
"""By number of points."""

# WFLW (Wu et al. 2018): outline, brows from above and below, nose, eyes with their lids, lips, pupils. Chains that are
# symmetric about their own middle, and the pairs of the rest.
_CHAINS_98 = ((0, 32), (55, 59), (76, 82), (83, 87), (88, 92), (93, 95))
_PAIRS_98 = (
    *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)),
    *((60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73), (96, 97)),
)


def _mirrored_98() -> tuple[int, ...]:
    chains = [(first + step, last - step) for first, last in _CHAINS_98 for step in range((last - first + 1) // 2)]
    return _swapped(98, *chains, *_PAIRS_98)


# AFLW-19 (Zhu et al. 2016): brows, eyes, nose and mouth from the image's left to its right, three points each; chin.
_PAIRS_19 = ((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9), (12, 14), (15, 17))

# LaPa (Liu et al. 2020): outline, brows from above and below, nose, eyes with their lids and middles, lips, pupils.
_CHAINS_106 = ((0, 32), (55, 65), (84, 90), (91, 95), (96, 100), (101, 103))
_PAIRS_106 = (
    *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)),
    *((66, 79), (67, 78), (68, 77), (69, 76), (70, 75), (71, 82), (72, 81), (73, 80), (74, 83), (104, 105)),
)


def _mirrored_106() -> tuple[int, ...]:
    chains = [(first + step, last - step) for first, last in _CHAINS_106 for step in range((last - first + 1) // 2)]
    return _swapped(106, *chains, *_PAIRS_106)


MIRRORED: dict[int, tuple[int, ...]] = {
    **{count: scheme.mirrored for count, scheme in SCHEMES.items()},
    19: _swapped(19, *_PAIRS_19),
    98: _mirrored_98(),
    106: _mirrored_106(),
}
"""Which point of the original becomes each point of the mirrored face, by number of points."""
