"""How far the landmarks of a face in 3D fall from where they are in its picture."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.errors import InputError

__all__ = ["landmark_errors"]

SOFTENING = 0.005
"""Below this distance, in pictures, errors count by their square: it is what landmarks are uncertain by."""


def landmark_errors(found: Tensor, given: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean distance of each face's landmarks, softened near 0: ``(F,)``, 0 where none is known.

    Args:
        found: ``(F, L, 2)``, where a side of the picture is 1.
        given: the same; NaN where unknown.
        weights: ``(L,)``, how much each landmark counts; 1 by default.
    """
    if found.shape != given.shape or found.ndim != 3 or found.shape[2] != 2:
        raise InputError(f"found {tuple(found.shape)} and given {tuple(given.shape)} must be (F, landmarks, 2)")
    known = torch.isfinite(given).all(-1)
    share = known.to(found.dtype) if weights is None else known * weights.to(found)
    apart = torch.where(known[..., None], found - torch.nan_to_num(given), 0.0)
    distances = (apart.square().sum(-1) + SOFTENING**2).sqrt() - SOFTENING
    return (share * distances).sum(1) / share.sum(1).clamp_min(1e-6)
