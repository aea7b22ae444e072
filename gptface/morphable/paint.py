"""Colours of a head's parts in linear light, and the line where hair begins."""

from __future__ import annotations

import numpy as np

__all__ = [
    "CAVITY", "CHEEK", "GUM", "HAIR", "IRIS", "PUPIL", "RED", "SKIN", "TONGUE", "TOOTH", "WHITE", "blend", "hair_share",
    "smoothstep",
]  # fmt: skip

SKIN = np.array([0.56, 0.33, 0.235])
CHEEK = np.array([0.58, 0.26, 0.20])
RED = np.array([0.42, 0.135, 0.115])
HAIR = np.array([0.070, 0.043, 0.028])
WHITE = np.array([0.80, 0.77, 0.74])
IRIS = np.array([0.10, 0.075, 0.045])
PUPIL = np.array([0.008, 0.008, 0.008])
TOOTH = np.array([0.80, 0.74, 0.64])
GUM = np.array([0.42, 0.13, 0.12])
TONGUE = np.array([0.40, 0.12, 0.11])
CAVITY = np.array([0.10, 0.018, 0.016])

# Height of the hairline by the angle from the front in degrees: over the forehead, down before the ear, over it, nape.
_ANGLE = [0, 18, 34, 46, 60, 76, 84, 96, 112, 130, 180]
_LINE = [8.6, 8.5, 8.1, 6.4, 5.0, 2.2, 1.4, 3.6, 0.4, -3.6, -5.0]


def smoothstep(value: np.ndarray, low: float | np.ndarray = 0.0, high: float | np.ndarray = 1.0) -> np.ndarray:
    """0 up to ``low``, 1 from ``high``, and a smooth S between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def blend(colours: np.ndarray, colour: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours ``(N, 3)`` moved towards one colour by shares ``(N,)``."""
    return colours + share[:, None] * (colour - colours)


def hair_share(points: np.ndarray) -> np.ndarray:
    """How much points ``(N, 3)`` belong to the hair, 0 to 1, on a head of the synthetic head's size and place."""
    x, y, z = points.T
    angle = np.degrees(np.arctan2(np.abs(x), z + 1.0))
    return smoothstep(y - np.interp(angle, _ANGLE, _LINE), -0.45, 0.85)
