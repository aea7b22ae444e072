"""A patch discriminator: which parts of a picture look decoded rather than photographed (Isola et al., 1611.07004)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """Strided convolutions to one logit a patch.

    Normalised over groups instead of the batch, so that a batch of decoded pictures and one of photographs cannot be
    told apart by their statistics alone.

    Args:
        channels: of the first layer; each further layer doubles them, up to eight times.
        layers: strided layers; 3 sees patches of 70 pixels, 2 of 34.
    """

    def __init__(self, channels: int = 64, layers: int = 2) -> None:
        super().__init__()
        widths = [channels * min(2**index, 8) for index in range(layers + 1)]
        self.convolutions = nn.ModuleList([nn.Conv2d(3, widths[0], 4, stride=2, padding=1)])
        self.norms = nn.ModuleList([nn.Identity()])
        for index in range(1, layers + 1):
            stride = 2 if index < layers else 1
            self.convolutions.append(nn.Conv2d(widths[index - 1], widths[index], 4, stride=stride, padding=1))
            self.norms.append(nn.GroupNorm(8 if widths[index] % 8 == 0 else 1, widths[index]))
        self.output = nn.Conv2d(widths[-1], 1, 4, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """``images (B, 3, H, W)`` in [−1, 1] to logits ``(B, 1, h, w)``; positive means "photographed"."""
        maps = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            maps = functional.leaky_relu(norm(convolution(maps)), 0.2)
        return self.output(maps)
