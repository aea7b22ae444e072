"""Loss of masked patches: their pixels, each patch by its own mean and spread (He et al., 2111.06377)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.objectives.normalisation import divided

__all__ = ["normalised_patches", "patch_loss", "restored_patches"]

# Variance below which a patch counts as flat, for pixels in [−1, 1]: below a deviation of 13 grey levels in 256 what is
# seen is skin's grain and the camera's noise more than form.
FLAT = 1e-2


def normalised_patches(patches: Tensor) -> Tensor:
    """``patches (..., P)`` in [−1, 1] less their mean, over their standard deviation: what is to be predicted."""
    # `layer_norm` divides by the root of the mean square in place of the unbiased variance, and takes a fifteenth of
    # the time of `var_mean` on a processor.
    numbers = patches.shape[-1]
    unbiased = numbers / max(numbers - 1, 1)
    scale = patches.new_full((numbers,), unbiased**-0.5, dtype=torch.float32)
    return functional.layer_norm(patches.float(), (numbers,), weight=scale, eps=FLAT / unbiased)


def restored_patches(normalised: Tensor, patches: Tensor) -> Tensor:
    """``normalised (..., P)`` with the mean and the spread of ``patches``: the inverse of :func:`normalised_patches`.

    For showing predictions: mean and spread are those of the true patches and no part of what was predicted.
    """
    variance, mean = torch.var_mean(patches.float(), dim=-1, keepdim=True)
    return normalised.float() * (variance + FLAT).sqrt() + mean


def patch_loss(
    predicted: Tensor, target: Tensor, normaliser: Tensor | None = None, usable: Tensor | None = None
) -> Tensor:
    """Mean square error a patch and number: scalar float32.

    Args:
        predicted, target: ``(M, P)``, of the masked patches.
        normaliser: number of patches that the sum is divided by in place of M, for a pass that is one of several.
        usable: bool ``(M,)``, which of them are patches; others are padding and do not count. By default all.
    """
    error = (predicted.float() - target.float()).square().mean(-1)
    if usable is not None:
        error = torch.where(usable, error, 0.0)
        normaliser = usable.sum() if normaliser is None else normaliser
    return error.mean() if normaliser is None else divided(error.sum(), normaliser)
