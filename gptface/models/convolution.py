"""Convolutional building blocks of the image tokenizer and the parser."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.ops import masked_attention

__all__ = [
    "ChannelNorm",
    "Downsample",
    "ResidualBlock",
    "ShuffleConvolution",
    "SpatialAttention",
    "Upsample",
    "normalisation",
]

LARGEST_HEAD = 256  # width up to which masked_attention takes a head


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of a ``(B, C, H, W)`` map.

    In channels-last memory this is one contiguous pass; on the CPU it takes a fifth to a seventh of GroupNorm's time.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def normalisation(channels: int, groups: int | None = None) -> nn.Module:
    """GroupNorm in ``groups`` or, where those do not divide ``channels``, their greatest common divisor.

    ``None`` gives a :class:`ChannelNorm`.
    """
    if groups is None:
        return ChannelNorm(channels, eps=1e-6)
    return nn.GroupNorm(math.gcd(channels, groups), channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """``x + conv(silu(norm(conv(silu(norm(x))))))``, with a 1×1 convolution on the shortcut where the width changes.

    Args:
        inputs, outputs: channels.
        groups: of :func:`normalisation`.
    """

    def __init__(self, inputs: int, outputs: int, *, groups: int | None = None) -> None:
        super().__init__()
        self.norm1 = normalisation(inputs, groups)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = normalisation(outputs, groups)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.conv1(functional.silu(self.norm1(maps)))
        inner = self.conv2(functional.silu(self.norm2(inner)))
        return self.shortcut(maps) + inner


class SpatialAttention(nn.Module):
    """Self-attention of every position of a map over all others, by one head, with a residual connection (VQGAN's).

    Args:
        channels: a multiple of 8, at least 16.
        groups: of :func:`normalisation`.
    """

    def __init__(self, channels: int, *, groups: int | None = None) -> None:
        super().__init__()
        self.norm = normalisation(channels, groups)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        batch, channels, height, width = maps.shape
        projected = self.query_key_value(self.norm(maps)).flatten(2).transpose(1, 2)  # (B, HW, 3C)
        query, key, value = projected.reshape(batch, height * width, 3, 1, channels).unbind(2)
        if channels <= LARGEST_HEAD:
            mixed = masked_attention(query.contiguous(), key.contiguous(), value.contiguous())
        else:  # 512 in the published models
            mixed = functional.scaled_dot_product_attention(
                query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
            ).transpose(1, 2)
        mixed = mixed.reshape(batch, height * width, channels).transpose(1, 2).reshape(batch, channels, height, width)
        return maps + self.output(mixed)


class Downsample(nn.Module):
    """Halve the resolution by a strided 3×3 convolution, padded below and to the right (as in VQGAN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv(functional.pad(maps, (0, 1, 0, 1)))


class ShuffleConvolution(nn.Conv2d):
    """A 3×3 convolution to ``stride ** 2`` times ``outputs`` channels, laid out as pixels.

    All sub-pixels of an output start with the same weights (ICNR, Aitken et al., 1707.02937): it begins as a
    nearest-neighbour enlargement and shows no checkerboard.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs * stride**2, 3, padding=1)
        self.factor = stride

    @torch.no_grad()
    def start_even(self) -> None:
        """Copy the first sub-pixel's weights to the others."""
        # transformers marks what it has read from a file; that must stay as it is.
        if not getattr(self.weight, "_is_hf_initialized", False):
            count = self.factor**2
            self.weight.copy_(self.weight[::count].repeat_interleave(count, dim=0))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.pixel_shuffle(super().forward(maps), self.factor)


class Upsample(nn.Module):
    """Double the resolution by nearest neighbours, then a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv(functional.interpolate(maps, scale_factor=2.0, mode="nearest"))
