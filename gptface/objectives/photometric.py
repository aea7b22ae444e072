"""How far a drawn face is from the picture it was read off, where it was drawn, whatever else covers the picture."""

from __future__ import annotations

from torch import Tensor

from gptface.errors import InputError

__all__ = ["photometric_errors", "photometric_weights"]

SPREAD = 2.0
"""Errors of so many times a face's mean error count half: a hand or a pair of glasses is far beyond."""
LEAST_SCALE = 0.02
"""Of a colour's range of 1: a face that is drawn this well has no outliers."""


def photometric_weights(errors: Tensor, inside: Tensor) -> Tensor:
    """How much each pixel counts, 0 to 1: 1 / (1 + (error / scale)²), where the scale is twice the face's mean error.

    Args:
        errors: ``(F, H, W)``, mean absolute differences of colours.
        inside: ``(F, H, W)``, where a face was drawn, 0 to 1; nothing counts elsewhere.
    """
    errors = errors.detach()
    count = inside.sum((1, 2)).clamp_min(1)
    scale = (SPREAD * (errors * inside).sum((1, 2)) / count).clamp_min(LEAST_SCALE)
    return inside / (1 + (errors / scale[:, None, None]).square())


def photometric_errors(drawn: Tensor, pictures: Tensor, inside: Tensor) -> Tensor:
    """Robust mean difference of colours inside every drawn face: ``(F,)``, 0 where nothing was drawn.

    The mean absolute difference, weighted pixel by pixel (:func:`photometric_weights`, Geman and McClure's weights by
    iteration) and divided by the number of pixels inside; weights have no gradient.

    Args:
        drawn: ``(F, H, W, C)``.
        pictures: the same shape and range.
        inside: ``(F, H, W)``, where a face was drawn, 0 to 1.
    """
    if drawn.shape != pictures.shape or inside.shape != drawn.shape[:3]:
        raise InputError(
            f"drawn {tuple(drawn.shape)}, pictures {tuple(pictures.shape)} and inside {tuple(inside.shape)} must be "
            "(F, H, W, C), the same, and (F, H, W)"
        )
    errors = (drawn.float() - pictures.float()).abs().mean(-1)
    inside = inside.detach().to(errors.dtype)
    weights = photometric_weights(errors, inside)
    return (weights * errors).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)
