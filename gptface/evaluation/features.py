"""Features of faces that nobody has to learn: what learnt ones are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from gptface.errors import InputError

__all__ = ["HOG_SETTING", "HOG_SIZE", "hog_features", "pixel_features", "shape_features"]

# As Dalal and Triggs set it for people (2005): nine unsigned orientations, blocks of 2 × 2 cells, L2-Hys. Eight cells
# across an aligned face.
HOG_SIZE = 128
HOG_SETTING = {"orientations": 9, "pixels_per_cell": (16, 16), "cells_per_block": (2, 2), "block_norm": "L2-Hys"}


def pixel_features(images: np.ndarray, size: int = 32) -> np.ndarray:
    """Grey values of ``images`` (uint8 ``(N, H, W, C)``) averaged down to ``size``²: ``(N, size*size)`` float32."""
    grey = torch.from_numpy(images.mean(axis=-1, dtype=np.float32) / 255).unsqueeze(1)
    return torch.nn.functional.adaptive_avg_pool2d(grey, size).flatten(1).numpy()


def hog_features(images: np.ndarray, advance: Callable[[int], None] | None = None) -> np.ndarray:
    """Histograms of oriented gradients of ``images`` (uint8 ``(N, 128, 128, C)``), by scikit-image: (N, 1764) float32.

    Args:
        images: at ``HOG_SIZE``; colours are averaged.
        advance: called with the number of images done, now and then.

    Raises:
        InputError: images of another size, or scikit-image is absent.
    """
    if images.ndim != 4 or images.shape[1:3] != (HOG_SIZE, HOG_SIZE):
        raise InputError(f"images: {images.shape}; HOG is taken of (N, {HOG_SIZE}, {HOG_SIZE}, C)")
    try:
        from skimage.feature import hog
    except ModuleNotFoundError:
        raise InputError('HOG needs scikit-image: pip install "gptface[probe]"') from None
    found = []
    for number, image in enumerate(images, 1):
        found.append(hog(image.mean(-1, dtype=np.float32) / 255, **HOG_SETTING).astype(np.float32))
        if advance is not None and (number % 64 == 0 or number == len(images)):
            advance(number)
    return np.stack(found)


def shape_features(points: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Landmarks without place, size and turn: float32 ``(N, 2 P)``.

    Each face's points, centred and of unit length, are turned onto the mean of ``like`` (orthogonal Procrustes).

    Args:
        points: float ``(N, P, 2)``; NaN for faces without, which get the mean shape.
        like: ``(M, P, 2)`` likewise, at least one face with points.
    """
    mean = _centred(like[np.isfinite(like).all((1, 2))]).mean(0)
    mean /= np.linalg.norm(mean)
    known = np.isfinite(points).all((1, 2))
    shapes = _centred(points[known])
    left, _, right = np.linalg.svd(shapes.transpose(0, 2, 1) @ mean)
    left[:, :, -1] *= np.sign(np.linalg.det(left @ right))[:, None]  # turned, not mirrored
    found = np.tile(mean, (len(points), 1, 1))
    found[known] = shapes @ (left @ right)
    return found.reshape(len(points), -1).astype(np.float32)


def _centred(points: np.ndarray) -> np.ndarray:
    """float64 ``(N, P, 2)`` around 0, of length 1 each."""
    centred = points - points.mean(1, keepdims=True, dtype=np.float64)
    return centred / np.maximum(np.linalg.norm(centred, axis=(1, 2), keepdims=True), 1e-12)
