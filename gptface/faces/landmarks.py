"""Facial landmarks: five points or 68, mirrored, and turned into a region map where a data set has no finer one.

Coordinates are (x, y) in pixels, continuous: the image spans [0, W] x [0, H], and pixel (row, column) covers
[column, column + 1] x [row, row + 1]. Points are in the usual orders, the image's left before its right: 68 as in
300-W and dlib (jaw, brows, nose, eyes, mouth); 5 as in CelebA and MTCNN (eyes, tip of the nose, corners of the mouth).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from gptface.errors import InputError
from gptface.faces.regions import region_label

__all__ = ["MIRRORED_ORDER", "landmark_region_map", "mirror_landmarks"]


def _mirrored_68() -> list[int]:
    order = list(range(68))
    chains = [range(17), range(17, 27), range(31, 36), range(48, 55), range(55, 60), range(60, 65), range(65, 68)]
    for chain in chains:  # symmetric about their own middle
        for point, mirrored in zip(chain, reversed(chain), strict=True):
            order[point] = mirrored
    for left, right in ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)):
        order[left], order[right] = right, left
    return order


MIRRORED_ORDER: dict[int, list[int]] = {5: [1, 0, 2, 4, 3], 68: _mirrored_68()}
"""By number of points: which point of the original becomes each point of the mirrored face."""


def mirror_landmarks(points: np.ndarray, width: float) -> np.ndarray:
    """The landmarks of the horizontally mirrored image, in the same order of meaning: float (5 or 68, 2)."""
    points = _checked(points)
    mirrored = points[MIRRORED_ORDER[len(points)]]
    mirrored[:, 0] = width - mirrored[:, 0]
    return mirrored


def landmark_region_map(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A region map drawn from landmarks: uint8 ``size`` = (H, W) of background, skin, brows, eyes, nose and mouth.

    Landmarks say nothing of hair, clothes or what covers a face, so these stay background; the forehead is guessed as
    an arc above the eyes. With five points all outlines are guessed from the distance between the eyes: good enough to
    choose which image tokens a mask covers, not for measuring.

    Raises:
        InputError: other than 5 or 68 points.
    """
    points = _checked(points)
    canvas = Image.new("L", (size[1], size[0]), region_label("background"))
    draw = ImageDraw.Draw(canvas)
    for name, outline in _outlines_5(points) if len(points) == 5 else _outlines_68(points):
        # Pixel centres lie at half-integers, where the drawing library has integers.
        draw.polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in outline], fill=region_label(name))
    return np.array(canvas, dtype=np.uint8)


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.array(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in MIRRORED_ORDER or not np.isfinite(points).all():
        raise InputError(f"landmarks: shape {points.shape}; they must be finite, (5, 2) or (68, 2)")
    return points


def _ellipse(
    centre: np.ndarray, across: np.ndarray, down: np.ndarray, start: float = 0, stop: float = 360
) -> np.ndarray:
    """Points of the (arc of the) ellipse with half-axes ``across`` and ``down``; degrees, from across towards down."""
    angle = np.deg2rad(np.linspace(start, stop, 33))[:, None]
    return centre + np.cos(angle) * across + np.sin(angle) * down


def _thickened(line: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return np.concatenate([line - offset, (line + offset)[::-1]])


def _outlines_68(p: np.ndarray) -> list[tuple[str, np.ndarray]]:
    left, right = p[36:42].mean(0), p[42:48].mean(0)
    down = p[8] - (p[0] + p[16]) / 2
    across = (p[16] - p[0]) / 2
    eye_distance = float(np.linalg.norm(right - left))
    upright = down / max(float(np.linalg.norm(down)), 1e-9)
    forehead = _ellipse((p[0] + p[16]) / 2, across, -0.8 * down, 0, 180)
    nose = np.stack([p[27], p[31] - 0.04 * (right - left), *p[31:36], p[35] + 0.04 * (right - left)])
    outlines = [("skin", np.concatenate([p[0:17], forehead]))]
    outlines += [("nose", nose), ("mouth", p[48:60])]
    outlines += [("brows", _thickened(brow, upright * eye_distance * 0.06)) for brow in (p[17:22], p[22:27])]
    for eye in (p[36:42], p[42:48]):
        outlines.append(("eyes", eye.mean(0) + 1.15 * (eye - eye.mean(0))))  # the lids' edges belong to the eye
    return outlines


def _outlines_5(p: np.ndarray) -> list[tuple[str, np.ndarray]]:
    eyes, mouth = (p[0] + p[1]) / 2, (p[3] + p[4]) / 2
    across = p[1] - p[0]  # all lengths below are shares of the distance between the eyes
    down = np.array([-across[1], across[0]])
    half_mouth = (p[4] - p[3]) / 2
    outlines = [("skin", _ellipse(eyes + 0.4 * (mouth - eyes), 1.05 * across, 1.45 * down))]
    outlines.append(("nose", np.stack([eyes, p[2] - 0.28 * across + 0.1 * down, p[2] + 0.28 * across + 0.1 * down])))
    outlines.append(("mouth", _ellipse(mouth, 1.1 * half_mouth, 0.2 * down)))
    for eye in (p[0], p[1]):
        outlines.append(("brows", _ellipse(eye - 0.33 * down, 0.34 * across, 0.08 * down)))
        outlines.append(("eyes", _ellipse(eye, 0.26 * across, 0.13 * down)))
    return outlines
