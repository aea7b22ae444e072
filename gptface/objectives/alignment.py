"""Patch–pixel alignment: an encoded patch says how near the pixels in and around it are to every code (PaCo-FR)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.objectives.normalisation import divided
from gptface.objectives.patches import normalised_patches

__all__ = ["alignment_loss", "code_activations"]

AT_A_TIME = 2  # pictures on a processor: their distances to all codes then stay in its cache, for a third of the time


def code_activations(images: Tensor, patch_size: int, projection: Tensor, codebook: Tensor) -> Tensor:
    """How near the pixels around every patch are to every code: float32 (B, N, K), row by row, at least 0.

    Windows of a patch's size stand at every half patch, so that a feature counts wherever it lies. A code's activation
    in a window is how much nearer it is than the mean code, 0 for those that are farther (the "triangle" of Coates, Lee
    and Ng, AISTATS 2011); a patch has the mean over the windows that reach into its middle: those at its own place
    and half a patch to either side, as far as they lie in the picture.

    Args:
        images: ``(B, C, S, S)``.
        patch_size: p, even; S is a multiple of it.
        projection: ``(C · p², D)``, from normalised pixels to the space of the codes.
        codebook: ``(K, D)``.
    """
    if patch_size % 2:
        raise InputError(f"patch_size: {patch_size}; it must be even: windows stand at every half patch")
    step = AT_A_TIME if images.device.type == "cpu" else max(len(images), 1)
    codes = codebook.float()
    return torch.cat([_activations(part.float(), patch_size, projection, codes) for part in images.split(step)])


def _activations(images: Tensor, patch_size: int, projection: Tensor, codes: Tensor) -> Tensor:
    half, size = patch_size // 2, images.shape[-1]
    windows = functional.unfold(images, patch_size, stride=half).mT
    rows = (normalised_patches(windows) @ projection).flatten(0, 1)
    squares = torch.addmm(codes.square().sum(1), rows, codes.T, alpha=-2.0).add_(rows.square().sum(1, keepdim=True))
    distances = squares.clamp_min_(0).sqrt_()
    activations = (distances.mean(1, keepdim=True) - distances).clamp_min_(0)
    places = size // half - 1
    on_grid = activations.view(len(images), places, places, len(codes)).permute(0, 3, 1, 2)
    # A patch's own window is every second one; the mean over it and its neighbours, without those beyond the edge.
    pooled = functional.avg_pool2d(on_grid, 3, stride=2, padding=1, count_include_pad=False)
    return pooled.flatten(2).mT


def alignment_loss(
    predicted: Tensor, activations: Tensor, normaliser: Tensor | None = None, usable: Tensor | None = None
) -> Tensor:
    """Mean square error a patch and code, each code's activations brought to mean 0 and variance 1: scalar float32.

    Args:
        predicted: ``(V, K)``.
        activations: ``(V, K)`` of :func:`code_activations`.
        normaliser: number of patches that the sum is divided by in place of V. Mean and variance stay those of these V.
        usable: bool ``(V,)``, which of them are patches; others are padding and do not count. By default all.
    """
    if usable is None:
        variance, mean = torch.var_mean(activations, dim=0, keepdim=True, correction=0)
    else:
        number = usable.sum().clamp_min(1)
        mean = torch.where(usable.unsqueeze(1), activations, 0.0).sum(0) / number
        variance = torch.where(usable.unsqueeze(1), (activations - mean).square(), 0.0).sum(0) / number
    error = (predicted.float() - (activations - mean) * (variance + 1e-8).rsqrt()).square().mean(-1)
    if usable is not None:
        error = torch.where(usable, error, 0.0)
        normaliser = usable.sum() if normaliser is None else normaliser
    return error.mean() if normaliser is None else divided(error.sum(), normaliser)
