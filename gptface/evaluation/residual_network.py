"""A small residual network for faces, which learns from labels alone: the yardstick of pre-trained encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResidualNetwork"]

WIDTHS = (24, 48, 96, 128)
BLOCKS = 2  # a stage


def _norm(channels: int) -> nn.GroupNorm:
    # Of groups, not of batches: averaged weights need no statistics of their own, and small batches none at all.
    return nn.GroupNorm(8, channels)


class _Block(nn.Module):
    """Two 3 × 3 convolutions added to their input, which is averaged down and projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = _norm(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = _norm(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride), nn.Conv2d(inputs, outputs, 1, bias=False), _norm(outputs)
            )

    def forward(self, states: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(states)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(states))


class ResidualNetwork(nn.Module):
    """Four stages of two residual blocks (He et al., 1512.03385) with group normalisation: 0.9 million parameters.

    Args:
        classes: how many.
        widths: channels of the stages, multiples of 8.
        dropout: before the classifier.
    """

    def __init__(self, classes: int, *, widths: tuple[int, ...] = WIDTHS, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.stem_norm = _norm(widths[0])
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for width in widths:
            for number in range(BLOCKS):
                blocks.append(_Block(inputs, width, 2 if number == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                # Processors convolve a third faster so.
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> Tensor:
        """``pictures (B, 3, S, S)`` in [−1, 1] to logits ``(B, classes)``."""
        states = self.stem(pictures.contiguous(memory_format=torch.channels_last))
        states = functional.relu(self.stem_norm(states))
        return self.output(self.dropout(self.blocks(states).mean((2, 3))))
