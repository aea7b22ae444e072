"""Losses of the image tokenizer: pixels, edges at several scales, an optional patch adversary (VQGAN, 2012.09841)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError

__all__ = [
    "adversarial_weight",
    "discriminator_hinge_loss",
    "generator_hinge_loss",
    "gradient_loss",
    "psnr",
    "reconstruction_losses",
]


def _mean(values: Tensor, importance: Tensor | None) -> Tensor:
    """Mean of ``values (B, C, H, W)``, weighted by ``importance (B, 1, H, W)``."""
    if importance is None:
        return values.mean()
    return (values * importance).sum() / (importance.sum() * values.shape[1]).clamp_min(1e-6)


def gradient_loss(
    reconstruction: Tensor, images: Tensor, scales: Sequence[int] = (1, 2, 4), importance: Tensor | None = None
) -> Tensor:
    """Mean absolute error of neighbouring-pixel differences, averaged over ``scales``.

    It stands in for a perceptual network where none can be downloaded: pixel losses alone are content with a blurred
    eye, the difference of its edges is not.

    Args:
        reconstruction, images: ``(B, 3, H, W)``.
        scales: factors by which both are first reduced (mean over blocks).
        importance: see :func:`reconstruction_losses`.
    """
    error = reconstruction.float() - images.float()  # differences and means are linear: one map is enough
    total = error.new_zeros(())
    for scale in scales:
        reduced, weight = error, importance
        if scale > 1:
            reduced = functional.avg_pool2d(error, scale)
            weight = None if importance is None else functional.avg_pool2d(importance, scale)
        for dimension in (2, 3):
            near = reduced.narrow(dimension, 0, reduced.shape[dimension] - 1)
            far = reduced.narrow(dimension, 1, reduced.shape[dimension] - 1)
            if weight is None:
                total = total + (far - near).abs().mean()
            else:
                count = weight.shape[dimension] - 1
                between = weight.narrow(dimension, 0, count) + weight.narrow(dimension, 1, count)
                total = total + _mean((far - near).abs(), between)
    return total / len(scales)


def reconstruction_losses(
    reconstruction: Tensor,
    images: Tensor,
    *,
    l1: float = 1.0,
    gradient: float = 1.0,
    scales: Sequence[int] = (1, 2, 4),
    importance: Tensor | None = None,
) -> dict[str, Tensor]:
    """The weighted parts of the reconstruction loss, and their sum under ``"total"``; a weight of 0 costs nothing.

    Args:
        reconstruction, images: ``(B, 3, H, W)``, images in [−1, 1].
        l1, gradient: weights of the mean absolute error and of :func:`gradient_loss`.
        scales: of :func:`gradient_loss`.
        importance: ``(B, 1, H, W)`` non-negative weight of each pixel in both means. A face's expression sits on a
            twentieth of the pixels; where region maps say which, a small codebook can be told to spend itself there.
    """
    if reconstruction.shape != images.shape:
        raise InputError(
            f"reconstruction and images must have the same shape, "
            f"got {tuple(reconstruction.shape)} and {tuple(images.shape)}"
        )
    if importance is not None and importance.shape != (images.shape[0], 1, *images.shape[2:]):
        raise InputError(
            f"importance must have shape ({images.shape[0]}, 1, {images.shape[2]}, {images.shape[3]}), "
            f"got {tuple(importance.shape)}"
        )
    error = reconstruction.float() - images.float()
    parts: dict[str, Tensor] = {}
    if l1:
        parts["l1"] = l1 * _mean(error.abs(), importance)
    if gradient:
        parts["gradient"] = gradient * gradient_loss(reconstruction, images, scales, importance)
    parts["total"] = torch.stack(list(parts.values())).sum() if parts else error.sum() * 0.0
    return parts


@torch.no_grad()
def psnr(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image: ``(B,)`` float32, for images in [−1, 1] (a peak of 2)."""
    error = (reconstruction.float().clamp(-1, 1) - images.float()).square().flatten(1).mean(1)
    return 10 * torch.log10(4.0 / error.clamp_min(1e-10))


def discriminator_hinge_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``mean(relu(1 − real)) / 2 + mean(relu(1 + fake)) / 2`` (Lim and Ye, 1705.02894)."""
    return 0.5 * (functional.relu(1 - real_logits.float()).mean() + functional.relu(1 + fake_logits.float()).mean())


def generator_hinge_loss(fake_logits: Tensor) -> Tensor:
    """``−mean(fake)``: what the decoder adds to its loss."""
    return -fake_logits.float().mean()


def adversarial_weight(
    reconstruction_loss: Tensor, adversarial_loss: Tensor, last_weight: Tensor, *, maximum: float = 1e4
) -> Tensor:
    """The factor that gives both losses gradients of equal norm at the decoder's last weight (VQGAN, equation 7)."""
    wanted = torch.autograd.grad(reconstruction_loss, last_weight, retain_graph=True)[0].norm()
    found = torch.autograd.grad(adversarial_loss, last_weight, retain_graph=True)[0].norm()
    return (wanted / (found + 1e-6)).clamp(0.0, maximum).detach()
