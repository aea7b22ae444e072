"""What evaluation asks of an image encoder, whichever system it comes from."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["FaceEncoder"]


class FaceEncoder(Protocol):
    """A module that turns faces into features of their patches.

    Attributes:
        image_size: side in pixels of the pictures it takes.
        grid: rows and columns of its patches.
        width: of a patch's features, ``C``.
    """

    image_size: int
    grid: tuple[int, int]
    width: int

    def forward_features(self, images: Tensor) -> Tensor:
        """``images`` float (B, 3, S, S) in [−1, 1] to features of the patches, (B, N, C) row by row."""
        ...
