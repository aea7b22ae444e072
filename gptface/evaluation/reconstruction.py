"""Quality of an image tokenizer: how well it keeps a picture, and how much of its codebook it uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gptface.data.pixels import images_to_tensor, tensor_to_images
from gptface.data.statistics import unigram_entropy
from gptface.models import FaceTokenizer
from gptface.objectives import psnr

__all__ = ["ReconstructionQuality", "measure_reconstruction"]


@dataclass(frozen=True)
class ReconstructionQuality:
    """Cost of encoding and decoding pictures.

    Attributes:
        psnr: mean over the images of the peak signal-to-noise ratio in decibels.
        psnr_low: its 10 % quantile: the pictures that suffer.
        usage: share of the codebook that occurs at all in these images.
        perplexity: ``exp`` of the entropy of the code distribution.
        codes: ``(N, h*w)`` int64.
        reconstructions: uint8 ``(N, H, W, 3)``.
    """

    psnr: float
    psnr_low: float
    usage: float
    perplexity: float
    codes: torch.Tensor
    reconstructions: np.ndarray


@torch.no_grad()
def measure_reconstruction(
    tokenizer: FaceTokenizer, images: np.ndarray, *, batch_size: int = 64
) -> ReconstructionQuality:
    """Encode and decode ``images`` (uint8 ``(N, H, W, 3)`` at the tokenizer's size) and compare.

    The PSNR is that of the rounded 8-bit picture, which is what anybody sees.
    """
    tokenizer.eval()
    device = next(tokenizer.parameters()).device
    codes, pictures, ratios = [], [], []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        found = tokenizer.encode(images_to_tensor(batch, device))
        decoded = tensor_to_images(tokenizer.decode(found))
        codes.append(found.cpu())
        pictures.append(decoded)
        ratios.append(psnr(images_to_tensor(decoded), images_to_tensor(batch)))
    all_codes, ratio = torch.cat(codes), torch.cat(ratios)
    size = tokenizer.config.codebook_size
    return ReconstructionQuality(
        psnr=float(ratio.mean()),
        psnr_low=float(ratio.quantile(0.1)),
        usage=float((torch.bincount(all_codes.flatten(), minlength=size) > 0).float().mean()),
        perplexity=float(np.exp(unigram_entropy(all_codes, size))),
        codes=all_codes,
        reconstructions=np.concatenate(pictures),
    )
