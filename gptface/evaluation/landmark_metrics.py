"""Errors of found landmarks as papers report them: by which length they are divided, and what is made of many."""

from __future__ import annotations

import numpy as np

from gptface.errors import InputError

__all__ = [
    "BOX_FAILURE",
    "FAILURE",
    "area_under_error_curve",
    "diagonal",
    "failure_rate",
    "outer_eye_distance",
    "point_errors",
]

FAILURE = 0.1
"""Errors above this share of the length are failures (10 %)."""

BOX_FAILURE = 0.07
"""The same where errors are divided by the side of a face's box, as on AFLW (7 %)."""

# The outer corners of both eyes; with 5 points the eyes themselves. 19 points are AFLW-19's, 98 WFLW's, 106 LaPa's.
_CORNERS = {5: (0, 1), 19: (6, 11), 68: (36, 45), 98: (60, 72), 106: (66, 79), 468: (33, 263)}


def point_errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float ``(N,)``: mean distance of a face's found points ``(N, P, 2)`` from the true ones."""
    return np.linalg.norm(np.asarray(found) - np.asarray(truth), axis=-1).mean(1)


def outer_eye_distance(points: np.ndarray) -> np.ndarray:
    """float ``(N,)``: distance of the eyes' outer corners, by which 300-W's, WFLW's and LaPa's errors are divided.

    Args:
        points: ``(N, P, 2)``, ``P`` one of 5, 19, 68, 98, 106 and 468.

    Raises:
        InputError: another number of points.
    """
    corners = _CORNERS.get(points.shape[1])
    if corners is None:
        known = ", ".join(map(str, _CORNERS))
        raise InputError(f"landmarks: {points.shape[1]} points; the eyes' corners are known of {known}")
    return np.linalg.norm(points[:, corners[0]] - points[:, corners[1]], axis=-1)


def diagonal(points: np.ndarray) -> np.ndarray:
    """float ``(N,)``: diagonal of the upright box around a face's points ``(N, P, 2)``."""
    return np.linalg.norm(points.max(1) - points.min(1), axis=-1)


def failure_rate(errors: np.ndarray, threshold: float = FAILURE) -> float:
    """Share of faces whose normalised error ``(N,)`` is above the threshold."""
    return float((np.asarray(errors) > threshold).mean())


def area_under_error_curve(errors: np.ndarray, threshold: float = FAILURE) -> float:
    """Area below the cumulative distribution of normalised errors ``(N,)`` from 0 to the threshold, divided by it.

    1 where every error is 0, 0 where all are failures. The curve is a step a face, so its area is exact: the mean of
    what is left of the threshold beyond each error.
    """
    return float(np.clip(1 - np.asarray(errors, dtype=np.float64) / threshold, 0, None).mean())
