"""Encoder and decoder of the image tokenizer: pixels to a grid of latent vectors and back.

With ``stem_stride`` 1 and GroupNorm this is VQGAN's network (Esser et al., 2012.09841), block for
block. A larger ``stem_stride`` folds patches of pixels into channels first, which moves nearly all work to resolutions
where convolutions are dense matrix products; on CPUs that is the difference between hours and minutes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from gptface.models.configuration_tokenizer import FaceTokenizerConfig
from gptface.models.convolution import (
    Downsample,
    ResidualBlock,
    ShuffleConvolution,
    SpatialAttention,
    Upsample,
    normalisation,
)

__all__ = ["Decoder", "Encoder", "PatchEncoder"]


def _groups(config: FaceTokenizerConfig) -> int | None:
    return config.norm_groups if config.norm == "group" else None


class _Level(nn.Module):
    """The residual blocks of one resolution, each followed by attention where the configuration asks for it."""

    def __init__(self, config: FaceTokenizerConfig, inputs: int, outputs: int, blocks: int, attention: bool) -> None:
        super().__init__()
        groups = _groups(config)
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleList()
        for index in range(blocks):
            self.blocks.append(ResidualBlock(inputs if index == 0 else outputs, outputs, groups=groups))
            self.attentions.append(SpatialAttention(outputs, groups=groups) if attention else nn.Identity())

    def forward(self, maps: Tensor) -> Tensor:
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            maps = attention(block(maps))
        return maps


def _middle(config: FaceTokenizerConfig) -> nn.Sequential:
    """The blocks between the coarsest level and the latent vectors, attention after the first of them."""
    width, groups = config.channels[-1], _groups(config)
    layers: list[nn.Module] = [ResidualBlock(width, width, groups=groups) for _ in range(config.middle_blocks)]
    if config.middle_attention:
        layers.insert(1, SpatialAttention(width, groups=groups))
    return nn.Sequential(*layers)


class PatchEncoder(nn.Module):
    """``(B, 3, H, W)`` pixels to ``(B, latent_channels, h, w)``: a linear map of each token's own pixels, no more."""

    def __init__(self, config: FaceTokenizerConfig) -> None:
        super().__init__()
        self.token_pixels = config.token_pixels
        self.shortcut = nn.Conv2d(3 * config.token_pixels**2, config.latent_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        latents: Tensor = self.shortcut(functional.pixel_unshuffle(images, self.token_pixels))
        return latents


class Encoder(nn.Module):
    """``(B, 3, H, W)`` pixels to ``(B, latent_channels, h, w)``."""

    def __init__(self, config: FaceTokenizerConfig) -> None:
        super().__init__()
        self.stem_stride = config.stem_stride
        channels = config.channels
        self.stem = nn.Conv2d(3 * config.stem_stride**2, channels[0], 3, padding=1)
        self.levels = nn.ModuleList()
        self.downsamples = nn.ModuleList()
        for level, width in enumerate(channels):
            inputs = channels[max(level - 1, 0)]
            self.levels.append(_Level(config, inputs, width, config.encoder_blocks, level in config.attention_levels))
            last = level == len(channels) - 1
            self.downsamples.append(nn.Identity() if last else Downsample(width))
        self.middle = _middle(config)
        self.norm = normalisation(channels[-1], _groups(config))
        self.output = nn.Conv2d(channels[-1], config.latent_channels, 3, padding=1)
        self.token_pixels = config.token_pixels
        self.shortcut = (
            nn.Conv2d(3 * config.token_pixels**2, config.latent_channels, 1) if config.linear_shortcut else None
        )

    def forward(self, images: Tensor) -> Tensor:
        pixels = functional.pixel_unshuffle(images, self.stem_stride) if self.stem_stride > 1 else images
        maps = self.stem(pixels)
        for level, downsample in zip(self.levels, self.downsamples, strict=True):
            maps = downsample(level(maps))
        latents = self.output(functional.silu(self.norm(self.middle(maps))))
        if self.shortcut is None:
            return latents
        return latents + self.shortcut(functional.pixel_unshuffle(images, self.token_pixels))


class Decoder(nn.Module):
    """``(B, latent_channels, h, w)`` to ``(B, 3, H, W)`` pixels, unbounded (images lie in [−1, 1])."""

    def __init__(self, config: FaceTokenizerConfig) -> None:
        super().__init__()
        channels = config.channels
        self.input = nn.Conv2d(config.latent_channels, channels[-1], 3, padding=1)
        self.middle = _middle(config)
        self.levels = nn.ModuleList()
        self.upsamples = nn.ModuleList()
        for level in reversed(range(len(channels))):
            inputs = channels[min(level + 1, len(channels) - 1)]
            self.levels.append(
                _Level(config, inputs, channels[level], config.decoder_blocks, level in config.attention_levels)
            )
            self.upsamples.append(nn.Identity() if level == 0 else Upsample(channels[level]))
        self.norm = normalisation(channels[0], _groups(config))
        self.output: nn.Conv2d
        if config.stem_stride > 1:
            self.output = ShuffleConvolution(channels[0], 3, config.stem_stride)
        else:
            self.output = nn.Conv2d(channels[0], 3, 3, padding=1)
        self.shortcut = (
            ShuffleConvolution(config.latent_channels, 3, config.token_pixels) if config.linear_shortcut else None
        )

    def forward(self, latents: Tensor) -> Tensor:
        maps = self.middle(self.input(latents))
        for level, upsample in zip(self.levels, self.upsamples, strict=True):
            maps = upsample(level(maps))
        images = self.output(functional.silu(self.norm(maps)))
        return images if self.shortcut is None else images + self.shortcut(latents)
