"""A perceptual hash of 256 bits: what looks alike differs in few, whatever the pictures' size, coding, brightness."""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["BITS", "WORDS", "hash_distance", "perceptual_hash"]

SIDE = 64  # pixels of the reduced picture
BLOCK = 16  # lowest frequencies across and down
BITS = BLOCK * BLOCK
WORDS = BITS // 64


@functools.cache
def _cosines() -> np.ndarray:
    """Rows of the discrete cosine transform (II) of length SIDE, frequencies 1 to BLOCK: the mean is left out."""
    places = (np.arange(SIDE) + 0.5) / SIDE
    return np.cos(np.pi * np.arange(1, BLOCK + 1)[:, None] * places).astype(np.float32)


def perceptual_hash(image: np.ndarray) -> tuple[int, ...]:
    """Four signed words of 64 bits: which of the 256 lowest frequencies of the grey picture lie above their median.

    Args:
        image: uint8 ``(H, W, 3)``, RGB, of any size.
    """
    import cv2

    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    rows = _cosines()
    frequencies = (rows @ grey.astype(np.float32) @ rows.T).ravel()
    bits = np.packbits(frequencies > np.median(frequencies))
    return tuple(int(word) for word in bits.view(">i8"))


def hash_distance(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Bits that differ."""
    return sum(((one ^ other) & (1 << 64) - 1).bit_count() for one, other in zip(first, second, strict=True))
