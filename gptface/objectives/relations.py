"""Spatial consistency of a face's components: their patches relate to one another as in the picture (PaCo-FR)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.objectives.normalisation import divided

__all__ = ["relation_count", "relation_loss"]


def _pairs(components: Tensor, masked: Tensor) -> Tensor:
    """float32 (B, N, N): 1 for pairs of two components' patches of which at least one was predicted, 0 otherwise."""
    inside = components.unsqueeze(2) & components.unsqueeze(1)
    predicted = masked.unsqueeze(2) | masked.unsqueeze(1)
    pairs = (inside & predicted).float()
    return pairs - torch.diag_embed(pairs.diagonal(dim1=1, dim2=2))


def relation_count(components: Tensor, masked: Tensor) -> Tensor:
    """Number of pairs that :func:`relation_loss` compares: scalar float32. Arguments as there."""
    return _pairs(components, masked).sum()


def relation_loss(
    predicted: Tensor, target: Tensor, components: Tensor, masked: Tensor, normaliser: Tensor | None = None
) -> Tensor:
    """Mean square difference of the cosines between patches, predicted against true: scalar float32.

    A masked eye is to look like the visible one, and lips like lips, as much as they do in the picture: where a patch
    is visible its true pixels stand for it, so a prediction is held against what is known around it.

    Args:
        predicted: ``(B, N, P)``, for every patch of the grid; those of visible patches are not looked at.
        target: ``(B, N, P)``, the true patches.
        components: bool ``(B, N)``, which patches lie in a component of the face.
        masked: bool ``(B, N)``, which patches are predicted.
        normaliser: number of pairs that the sum is divided by in place of :func:`relation_count`.
    """
    pairs = _pairs(components, masked)
    true = functional.normalize(target.float(), dim=-1)
    made = torch.where(masked.unsqueeze(2), functional.normalize(predicted.float(), dim=-1), true)
    error = (torch.baddbmm(true @ true.mT, made, made.mT, beta=-1.0)).square() * pairs
    return divided(error.sum(), pairs.sum() if normaliser is None else normaliser)
