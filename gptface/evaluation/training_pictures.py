"""Pictures as networks are trained on them: cut out, mirrored, lit and partly covered at random, a batch at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["RandomPictures", "plain_pictures"]

# Faces fill the frame here, so that a crop of half its area still shows one; much less leaves out the mouth.
CROP_AREA = (0.5, 1.0)
CROP_RATIO = (0.85, 1.18)
LIGHT = (0.7, 1.3)
COVERED_AREA = (0.02, 0.2)


def plain_pictures(images: Tensor, size: int) -> Tensor:
    """uint8 ``(B, 1 or 3, H, W)`` to float ``(B, 3, size, size)`` in [−1, 1], averaged down where they are larger."""
    pictures = images.float().div_(127.5).sub_(1)
    if pictures.shape[-1] != size:
        pictures = nn.functional.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    return pictures.expand(-1, 3, -1, -1)


class RandomPictures:
    """Random resized crops, mirrored, in another light, a rectangle erased: each picture of a batch by its own draw.

    Draws come from torch's global generators (kornia's custom).

    Args:
        size: side of the result in pixels.
    """

    def __init__(self, size: int) -> None:
        from kornia import augmentation

        self._steps: list[Any] = [
            augmentation.RandomResizedCrop((size, size), CROP_AREA, CROP_RATIO, cropping_mode="slice"),
            augmentation.RandomHorizontalFlip(),
            augmentation.RandomContrast(LIGHT, p=0.8),
            augmentation.RandomBrightness(LIGHT, p=0.8),
            augmentation.RandomErasing(COVERED_AREA, value=0.5, p=0.5),
        ]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 ``(B, 1 or 3, H, W)`` to float ``(B, 3, size, size)`` in [−1, 1]."""
        pictures = images.float().div_(255)
        for step in self._steps:
            pictures = step(pictures)
        return pictures.mul_(2).sub_(1).expand(-1, 3, -1, -1)
