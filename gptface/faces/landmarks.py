"""Facial landmarks: mirrored, as polygons of regions, and as a region map where a data set has no finer one.

Coordinates are (x, y) in pixels, continuous: the image spans [0, W] x [0, H], and pixel (row, column) covers
[column, column + 1] x [row, row + 1]. What the points mean is said in ``landmark_schemes``.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from gptface.errors import InputError
from gptface.faces.landmark_schemes import SCHEMES
from gptface.faces.regions import region_label

__all__ = ["landmark_polygons", "landmark_region_map", "mirror_landmarks"]


def mirror_landmarks(points: np.ndarray, width: float) -> np.ndarray:
    """The landmarks of the horizontally mirrored image, in the same order of meaning: float (5, 68 or 468, 2)."""
    points = _checked(points)
    mirrored = points[list(SCHEMES[len(points)].mirrored)]
    mirrored[:, 0] = width - mirrored[:, 0]
    return mirrored


def landmark_polygons(points: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The regions that landmarks outline: (name of ``REGIONS``, corners float64 ``(n, 2)``), later ones upon earlier.

    There are skin, nose, mouth, two brows and two eyes. Landmarks say nothing of hair, clothes or what covers a face;
    with 68 points or fewer the forehead is guessed. With five points all outlines are guessed from the distance between
    the eyes: good enough to choose which image tokens a mask covers, not for measuring.

    Raises:
        InputError: other than 5, 68 or 468 finite points.
    """
    points = _checked(points)
    return SCHEMES[len(points)].polygons(points)


def landmark_region_map(points: np.ndarray, size: tuple[int, int], *, hair: bool = False) -> np.ndarray:
    """:func:`landmark_polygons` drawn: uint8 ``size`` = (H, W) labels, the rest background.

    Args:
        hair: guess it as well, around and above the forehead, where an aligned face's template has it
            (:class:`FaceTemplate`): good enough to choose which image tokens a mask covers.
    """
    canvas = Image.new("L", (size[1], size[0]), region_label("background"))
    draw = ImageDraw.Draw(canvas)
    polygons = landmark_polygons(points)
    if hair:
        mouth = next(corners for name, corners in polygons if name == "mouth")
        polygons.insert(0, ("hair", _hair(mouth, *(corners for name, corners in polygons if name == "eyes"))))
    for name, corners in polygons:
        # Pixel centres lie at half-integers, where the drawing library has integers.
        draw.polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in corners], fill=region_label(name))
    return np.array(canvas, dtype=np.uint8)


def _hair(mouth: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The part of the template's ellipse of hair that lies above the line of the eyes, given outlines."""
    eyes, across = (left.mean(0) + right.mean(0)) / 2, right.mean(0) - left.mean(0)
    down = mouth.mean(0) - eyes
    angle = np.linspace(np.pi, 2 * np.pi, 33)[:, None]
    arc = eyes - 0.35 * down + np.cos(angle) * 1.5 * across + np.sin(angle) * 1.6 * down
    return np.concatenate([[eyes - 1.46 * across], arc, [eyes + 1.46 * across]])


def _checked(points: np.ndarray) -> np.ndarray:
    points = np.array(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in SCHEMES or not np.isfinite(points).all():
        allowed = ", ".join(f"({count}, 2)" for count in SCHEMES)
        raise InputError(f"landmarks: shape {points.shape}; they must be finite and one of {allowed}")
    return points
