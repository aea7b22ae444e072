"""A stem of convolutions: what embeds the patches of a picture and sees over their edges (Xiao et al., 2106.14881)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConvolutionStem"]


class ConvolutionStem(nn.Module):
    """3 × 3 convolutions of stride 2, GELU between them, until a position stands for a patch.

    Args:
        patch_size: a power of 2.
        width: of the states, C; halved for every layer before the last, down to 16.
        channels: of the images.
    """

    def __init__(self, patch_size: int, width: int, channels: int) -> None:
        super().__init__()
        count = patch_size.bit_length() - 1
        widths = [max(16, width >> (count - 1 - level)) for level in range(count)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
            for inputs, outputs in zip([channels, *widths], widths, strict=False)
        )

    def forward(self, images: Tensor) -> Tensor:
        """``images (B, channels, H, W)`` to ``(B, N, C)``, row by row."""
        states = images
        for level, convolution in enumerate(self.convolutions):
            states = convolution(functional.gelu(states) if level else states)
        return states.flatten(2).mT
