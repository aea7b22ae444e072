"""What an image token is told of its neighbours on the grid before attention has learnt where they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LocalMixing"]


class LocalMixing(nn.Module):
    """A 3×3 depthwise convolution over the grid of image tokens and a linear map, in two halves.

    Conditional position encodings (Chu et al. 2021, 2102.10882) are made so. The half that looks back in raster order
    serves every row; the half that looks ahead serves only the rows whose image is not being predicted token by token.

    Args:
        width: C.
        grid: ``(h, w)`` of the image tokens.
    """

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.taps = nn.Parameter(torch.empty(width, 1, 3, 3))
        self.output = nn.Linear(width, width, bias=False)
        behind = torch.tensor([1.0] * 5 + [0.0] * 4).view(3, 3)  # the token itself counts as behind: it is known
        self.register_buffer("behind", behind, persistent=False)

    behind: Tensor

    def forward(self, tokens: Tensor, ahead: Tensor) -> Tensor:
        """What to add to image tokens ``(B, N, C)``; ``ahead (B,)`` bool: whether a row may look ahead."""
        batch, _, width = tokens.shape
        planes = tokens.transpose(1, 2).reshape(batch, width, *self.grid)
        mixed = functional.conv2d(planes, self.taps * self.behind, padding=1, groups=width)
        beyond = functional.conv2d(planes, self.taps * (1 - self.behind), padding=1, groups=width)
        mixed = mixed + beyond * ahead.view(-1, 1, 1, 1)
        return self.output(mixed.flatten(2).transpose(1, 2))
