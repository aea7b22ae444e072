"""From strokes of a brush to the pixels of a photo that may change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

__all__ = ["brushed_mask"]


def brushed_mask(layers: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray | None:
    """What was painted, at the photo's own size.

    Args:
        layers: what the editor gives: uint8 ``(h, w, 4)`` each, of the size at which the photo was shown; a pixel
            counts by its opacity.
        shape: ``(H, W)`` of the photo.

    Returns:
        bool ``(H, W)``: pixels at least half of which are painted; ``None`` where that is none.
    """
    height, width = shape
    marked = np.zeros(shape, dtype=bool)
    for layer in layers:
        if layer.ndim != 3 or layer.shape[2] != 4 or not layer.size:
            continue
        painted = Image.fromarray(np.where(layer[:, :, 3] > 0, 255, 0).astype(np.uint8))
        marked |= np.asarray(painted.resize((width, height), Image.Resampling.BOX)) >= 128
    return marked if marked.any() else None
