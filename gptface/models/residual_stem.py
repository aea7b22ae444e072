"""A stem of residual blocks: a small convolutional network whose last map is a picture's patches."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.models.convolution import ChannelNorm

__all__ = ["ResidualStem"]

EPS = 1e-6


class _Block(nn.Module):
    """``x + conv(relu(norm(conv(relu(norm(x))))))`` (He et al., 1603.05027); ``stride`` 2 halves the map.

    ReLU and the norm over channels are what convolutions of channels-last maps wait least for on a processor.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm1 = ChannelNorm(inputs, eps=EPS)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.norm2 = ChannelNorm(outputs, eps=EPS)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.conv1(functional.relu(self.norm1(maps)))
        inner = self.conv2(functional.relu(self.norm2(inner)))
        return self.shortcut(functional.avg_pool2d(maps, 2) if self.stride > 1 else maps) + inner


class ResidualStem(nn.Module):
    """A convolution of stride 2, residual blocks until a position stands for a patch, and one more.

    Where there are thousands of pictures rather than millions, such a network finds what lies where in them long
    before attention over linear patches does.

    Args:
        patch_size: a power of 2 from 4.
        width: of the states, C; halved for every level before the last, down to 16.
        channels: of the images.
    """

    def __init__(self, patch_size: int, width: int, channels: int) -> None:
        super().__init__()
        count = patch_size.bit_length() - 1
        widths = [max(16, width >> (count - 1 - level)) for level in range(count)]
        self.first = nn.Conv2d(channels, widths[0], 5, stride=2, padding=2)
        blocks = [_Block(inputs, outputs, 2) for inputs, outputs in pairwise(widths)]
        self.blocks = nn.ModuleList([*blocks, _Block(widths[-1], widths[-1], 1)])
        self.norm = ChannelNorm(widths[-1], eps=EPS)
        self.last = nn.Linear(widths[-1], width)

    def forward(self, images: Tensor) -> Tensor:
        """``images (B, channels, H, W)`` to ``(B, N, C)``, row by row."""
        maps = self.first(images.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            maps = block(maps)
        return self.last(self.norm(maps).flatten(2).mT)
