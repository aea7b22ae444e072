"""Counting floating-point operations, for the utilisation figure (MFU) on the log lines.

A multiplication and an addition count as two operations. Normalisations, activations and embedding lookups are left
out, as is usual. The forward pass is counted; a training step costs three times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from gptface.models.configuration_tokenizer import FaceTokenizerConfig

__all__ = ["tokenizer_flops", "transformer_flops"]


def _convolution(inputs: int, outputs: int, kernel: int, side: int) -> int:
    return 2 * inputs * outputs * kernel * kernel * side * side


def _residual_blocks(inputs: int, outputs: int, count: int, side: int) -> int:
    first = _convolution(inputs, outputs, 3, side)
    shortcut = _convolution(inputs, outputs, 1, side) if inputs != outputs else 0
    return first + shortcut + (2 * count - 1) * _convolution(outputs, outputs, 3, side)


def _attention(width: int, side: int) -> int:
    tokens = side * side
    return 2 * tokens * width * width * 4 + 4 * tokens * tokens * width


def tokenizer_flops(config: FaceTokenizerConfig) -> int:
    """Operations of one image forward through encoder, codebook lookup and decoder."""
    channels = config.channels
    last = len(channels) - 1
    sides = [config.image_size // config.stem_stride // 2**level for level in range(len(channels))]
    patch, encoders = config.stem_stride**2, 0 if config.local_codes else 1
    total = 0
    for level, (width, side) in enumerate(zip(channels, sides, strict=True)):
        attention = _attention(width, side) if level in config.attention_levels else 0
        total += encoders * _residual_blocks(channels[max(level - 1, 0)], width, config.encoder_blocks, side)
        total += _residual_blocks(channels[min(level + 1, last)], width, config.decoder_blocks, side)
        total += (encoders * config.encoder_blocks + config.decoder_blocks) * attention
        if level < last:  # down to the next level, and up from it
            total += encoders * _convolution(width, width, 3, sides[level + 1])
            total += _convolution(channels[level + 1], channels[level + 1], 3, side)
    middle = _residual_blocks(channels[-1], channels[-1], config.middle_blocks, sides[-1])
    middle += _attention(channels[-1], sides[-1]) if config.middle_attention else 0
    total += (encoders + 1) * middle
    total += encoders * _convolution(3 * patch, channels[0], 3, sides[0])
    if config.linear_shortcut:
        pixels = 3 * config.token_pixels**2
        total += _convolution(pixels, config.latent_channels, 1, sides[-1])
        total += _convolution(config.latent_channels, pixels, 3, sides[-1])
    total += (encoders + 1) * _convolution(channels[-1], config.latent_channels, 3, sides[-1])
    total += 2 * _convolution(config.latent_channels, config.code_dim, 1, sides[-1])
    total += _convolution(config.code_dim, config.codebook_size, 1, sides[-1])
    total += _convolution(channels[0], 3 * patch, 3, sides[0])
    return total


def transformer_flops(lengths: Tensor | Sequence[int] | int, *, layers: int, width: int, intermediate_size: int) -> int:
    """Operations of sequences of these lengths (valid slots) forward through all layers, without embeddings and heads.

    Attention is counted in full (every slot with every other), so masks that hide something count as if they did not.
    """
    if isinstance(lengths, int):
        lengths = [lengths]
    elif isinstance(lengths, Tensor):
        lengths = lengths.tolist()
    a_slot = 2 * (4 * width * width + 2 * width * intermediate_size)
    return layers * sum(a_slot * slots + 4 * slots * slots * width for slots in map(int, lengths))
