"""A face brought to a template by a similarity: shift, turn, one scale."""

from __future__ import annotations

import numpy as np

from gptface.errors import InputError
from gptface.faces.templates import FaceTemplate

__all__ = ["alignment_anchors", "alignment_matrix", "apply_alignment"]


def alignment_anchors(points: np.ndarray) -> np.ndarray:
    """Both eyes and the mouth, float64 ``(3, 2)``, of landmarks ``(5, 68 or 468, 2)``; the picture's left comes first.

    Raises:
        InputError: another number of points, or some that are not finite.
    """
    p = np.asarray(points, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != 2 or len(p) not in (5, 68, 468) or not np.isfinite(p).all():
        raise InputError(f"landmarks: shape {p.shape}; they must be finite and one of (5, 2), (68, 2), (468, 2)")
    if len(p) == 5:
        return np.stack([p[0], p[1], (p[3] + p[4]) / 2])
    if len(p) == 68:
        return np.stack([p[36:42].mean(0), p[42:48].mean(0), (p[48] + p[54]) / 2])
    return np.stack([(p[33] + p[133]) / 2, (p[263] + p[362]) / 2, (p[61] + p[291]) / 2])


def alignment_matrix(points: np.ndarray, template: FaceTemplate, size: int) -> np.ndarray:
    """The similarity that brings landmarks nearest to the template's, float64 ``(2, 3)``: picture to aligned picture.

    Least squares over eyes and mouth (Umeyama 1991 in the plane, without reflection). Both pictures are continuous: a
    picture of that size spans ``[0, size]``.

    Raises:
        InputError: as of :func:`alignment_anchors`; points that lie in one place.
    """
    source = alignment_anchors(points)
    eye, mouth = template.eye_distance / 2, template.mouth_y
    x, y = template.centre_x, template.eye_y
    target = np.array([[x - eye, y], [x + eye, y], [x, mouth]]) * size
    # As complex numbers a similarity is target = turn · source + shift.
    from_, to = source @ [1, 1j], target @ [1, 1j]
    centred = from_ - from_.mean()
    spread = (np.abs(centred) ** 2).sum()
    if not spread > 1e-6:
        raise InputError("landmarks: eyes and mouth lie in one place")
    turn = (centred.conj() * (to - to.mean())).sum() / spread
    if not abs(turn) > 1e-6:
        raise InputError("landmarks: eyes and mouth lie as in no face")
    shift = to.mean() - turn * from_.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def apply_alignment(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points ``(N, 2)`` through an affine map ``(2, 3)``."""
    return np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]
