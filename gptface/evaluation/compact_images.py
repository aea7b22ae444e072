"""Many pictures in little memory: grey ones keep one channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["compact_image", "stack_images"]


def compact_image(image: np.ndarray) -> np.ndarray:
    """uint8 ``(H, W, 3)`` to ``(1, H, W)`` where all three channels are one, else ``(3, H, W)``."""
    grey = bool((image == image[..., :1]).all())
    return np.ascontiguousarray(image[..., :1] if grey else image).transpose(2, 0, 1)


def stack_images(images: Sequence[np.ndarray]) -> np.ndarray:
    """Compact images as one array ``(N, C, H, W)``: of one channel if all are grey, else of three."""
    channels = max(image.shape[0] for image in images)
    return np.stack([np.broadcast_to(image, (channels, *image.shape[1:])) for image in images])
