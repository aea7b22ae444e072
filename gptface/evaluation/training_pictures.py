"""Pictures as networks are trained on them: cut out, mirrored, lit and partly covered at random, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gptface.faces.landmark_schemes import MIRRORED

__all__ = ["RandomLandmarkPictures", "RandomPictures", "over_pictures", "plain_pictures", "training_size"]

# Faces fill the frame here, so that a crop of half its area still shows one; much less leaves out the mouth.
CROP_AREA = (0.5, 1.0)
CROP_RATIO = (0.85, 1.18)
LIGHT = (0.7, 1.3)
COVERED_AREA = (0.02, 0.2)
# Of faces whose landmarks are learned: the crop must keep nearly all of them.
TURN, SHIFT, SCALE = 10.0, (0.05, 0.05), (0.9, 1.1)


def training_size(size: int) -> int:
    """Side at which faces are read for networks of ``size``: a third more, so that a crop is seldom an enlargement."""
    return math.ceil(size * 4 / 3)


def plain_pictures(images: Tensor, size: int) -> Tensor:
    """uint8 ``(B, 1 or 3, H, W)`` to float ``(B, 3, size, size)`` in [−1, 1], averaged down where they are larger."""
    pictures = images.float().div_(127.5).sub_(1)
    if pictures.shape[-1] != size:
        pictures = nn.functional.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    return pictures.expand(-1, 3, -1, -1)


@torch.no_grad()
def over_pictures(
    images: np.ndarray,
    size: int,
    device: torch.device,
    compute: Callable[[Tensor], Tensor],
    *,
    batch: int = 128,
    advance: Callable[[float], None] = lambda done: None,
) -> Tensor:
    """``compute`` of all pictures, uint8 ``(N, 1 or 3, H, W)``, as :func:`plain_pictures`, a batch at a time.

    Args:
        advance: is told how many are done.
    """
    found = []
    for start in range(0, len(images), batch):
        cut = torch.from_numpy(images[start : start + batch]).to(device)
        found.append(compute(plain_pictures(cut, size)))
        advance(start + len(cut))
    return torch.cat(found)


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
            *_light_and_cover(),
        ]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 ``(B, 1 or 3, H, W)`` to float ``(B, 3, size, size)`` in [−1, 1]."""
        pictures = images.float().div_(255)
        for step in self._steps:
            pictures = step(pictures)
        return pictures.mul_(2).sub_(1).expand(-1, 3, -1, -1)


class RandomLandmarkPictures:
    """Turned, shifted, enlarged, mirrored and lit pictures with a rectangle erased, and where their landmarks went.

    Args:
        size: side of the result in pixels.
        points: how many landmarks: 5, 19, 68, 98, 106 or 468.
    """

    def __init__(self, size: int, points: int) -> None:
        from kornia import augmentation

        self.size = size
        self._mirrored = torch.tensor(MIRRORED[points])
        self._move = augmentation.RandomAffine(TURN, SHIFT, SCALE, padding_mode="border", p=1.0)
        self._steps: list[Any] = _light_and_cover()

    @torch.no_grad()
    def __call__(self, images: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures as the network takes them, their points, and how much faces were enlarged.

        Args:
            images: uint8 ``(B, 1 or 3, S, S)``.
            points: float ``(B, P, 2)`` in shares of the side.

        Returns:
            float ``(B, 3, size, size)`` in [−1, 1]; float ``(B, P, 2)``; float ``(B,)``.
        """
        flip = torch.rand(len(images), device=images.device) < 0.5
        pictures = torch.where(flip[:, None, None, None], images.flip(3), images).float().div_(255)
        mirrored = points[:, self._mirrored.to(points.device)] * points.new_tensor([-1, 1]) + points.new_tensor([1, 0])
        points = torch.where(flip[:, None, None], mirrored, points)
        pictures = self._move(pictures)
        matrix: Any = self._move.transform_matrix  # of pixel indices: a pixel's centre is where its index is
        side = images.shape[-1]
        places = points * side - 0.5
        moved = (places @ matrix[:, :2, :2].mT + matrix[:, None, :2, 2] + 0.5) / side
        if self.size != side:
            pictures = nn.functional.interpolate(pictures, (self.size, self.size), mode="bilinear", antialias=True)
        for step in self._steps:
            pictures = step(pictures)
        return pictures.mul_(2).sub_(1).expand(-1, 3, -1, -1), moved, torch.linalg.det(matrix[:, :2, :2]).abs().sqrt()


def _light_and_cover() -> list[Any]:
    from kornia import augmentation

    return [
        augmentation.RandomContrast(LIGHT, p=0.8),
        augmentation.RandomBrightness(LIGHT, p=0.8),
        augmentation.RandomErasing(COVERED_AREA, value=0.5, p=0.5),
    ]
