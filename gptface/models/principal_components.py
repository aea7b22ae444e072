"""Starting the image tokenizer where principal components of patches would: near what its linear shortcuts can do.

Codes then describe patches from the first step on, and the networks learn only what lines cannot say.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.models.autoencoder import Encoder
from gptface.models.tokenizer import FaceTokenizer

__all__ = ["start_from_principal_components"]

# Of the random weights that meet the components on their way to the codes and back: they are to learn, not to disturb.
DAMPED = 0.1


@torch.no_grad()
def start_from_principal_components(tokenizer: FaceTokenizer, images: Tensor) -> float:
    """Set the linear shortcuts to project each token's pixels on their principal components, and back.

    All components get one scale, so that distances between code vectors stay distances between patches.

    Args:
        tokenizer: fresh, with ``linear_shortcut``; its codebook should find its place by ``kmeans_init``.
        images: float32 ``(N, 3, S, S)`` in [−1, 1]; some hundred are enough.

    Returns:
        The share of the patches' variance that the components hold: at most what the linear part alone can keep.

    Raises:
        InputError: no linear shortcuts, or fewer patches than components.
    """
    encoder, decoder, pixels = tokenizer.encoder, tokenizer.decoder, tokenizer.config.token_pixels
    there, back = encoder.shortcut, decoder.shortcut
    if there is None or back is None:
        raise InputError("linear_shortcut must be true for a start from principal components, got false")
    patches = functional.pixel_unshuffle(images.float(), pixels).permute(0, 2, 3, 1).flatten(0, 2)
    count = min(tokenizer.config.code_dim, tokenizer.config.latent_channels, patches.shape[1])
    if len(patches) <= count:
        raise InputError(f"images must hold more than {count} patches, got {len(patches)}")
    mean = patches.mean(0)
    centred = (patches - mean).double()
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    held = variances[-count:].sum() / variances.sum().clamp_min(1e-30)
    components = vectors[:, -count:].to(patches)
    scale = variances[-count:].mean().sqrt().clamp_min(1e-6).to(patches)

    if isinstance(encoder, Encoder):
        _scale(encoder.output, DAMPED)
    _scale(there, 0.0)
    there.weight[:count, :, 0, 0] = components.T / scale
    _bias(there)[:count] = -(components.T @ mean) / scale
    diagonal = torch.arange(count, device=components.device)
    for layer in (tokenizer.to_code, tokenizer.from_code):
        _scale(layer, DAMPED)
        layer.weight[:count] = 0.0
        layer.weight[diagonal, diagonal, 0, 0] = 1.0
    _scale(decoder.output, DAMPED)
    _scale(back, 0.0)
    back.weight[:, :count, 1, 1] = components * scale
    _bias(back).add_(mean)
    return float(held)


def _scale(layer: nn.Conv2d, factor: float) -> None:
    layer.weight.mul_(factor)
    _bias(layer).zero_()


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
