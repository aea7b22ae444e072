"""Named, counter-based random draws in exact integer arithmetic, and the noise textures built from them.

NumPy promises stable bit streams but not stable distributions between versions; a face must be the same one on every
machine and in every year. Each draw is a hash of (seed, index, name): adding a draw never moves another.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np

from gptface.integers import whole_number

__all__ = ["Draws", "noise_texture", "sample_identity"]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
T = TypeVar("T")


def _mix(value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014, variant 13 of Stafford): a bijection of 64-bit integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def sample_identity(seed: int, index: int) -> int:
    """63-bit identity of face ``index`` of generator ``seed``."""
    seed, index = whole_number(seed, "seed"), whole_number(index, "index")
    return _mix(_mix((seed * _GOLDEN + 1) & _MASK) ^ ((index * _GOLDEN) & _MASK)) >> 1


@cache
def _name_hash(name: str) -> int:
    return zlib.crc32(name.encode()) * _GOLDEN & _MASK


class Draws:
    """Random numbers keyed by (seed, index, name). The same name drawn twice gives the same number."""

    def __init__(self, seed: int, index: int) -> None:
        self._key = sample_identity(seed, index) << 1

    def bits(self, name: str) -> int:
        """64 uniform bits."""
        return _mix(self._key ^ _name_hash(name))

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * ((self.bits(name) >> 11) * 2.0**-53)

    def normal(self, name: str, mean: float = 0.0, deviation: float = 1.0) -> float:
        """Bell-shaped within ±3.46 deviations: the sum of four 16-bit uniforms (Irwin–Hall), exact everywhere."""
        bits = self.bits(name)
        total = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48)
        return mean + deviation * (total / 65535.0 - 2.0) * 1.7320508075688772

    def chance(self, name: str, probability: float) -> bool:
        return self.uniform(name) < probability

    def integer(self, name: str, count: int) -> int:
        """Uniform in [0, count)."""
        return int(self.uniform(name) * count)

    def choice(self, name: str, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        if weights is None:
            return options[self.integer(name, len(options))]
        point = self.uniform(name) * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            point -= weight
            if point < 0:
                return option
        return options[-1]


@cache
def noise_texture(name: str, size: int = 256, cell_height: int = 8, cell_width: int = 8) -> np.ndarray:
    """float32 (size, size) smooth periodic noise in about [-1, 1], features of ``cell_height`` × ``cell_width`` texels.

    Value noise: hashed lattice values, interpolated with the smoothstep weight.
    """
    rows, columns = size // cell_height, size // cell_width
    state = np.arange(rows * columns, dtype=np.uint64) * np.uint64(_GOLDEN) ^ np.uint64(_name_hash(name))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state ^= state >> np.uint64(31)
    lattice = ((state >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - 1).reshape(rows, columns)

    def interpolate(values: np.ndarray, cell: int, axis: int) -> np.ndarray:
        position = np.arange(size)
        low, fraction = position // cell, (position % cell + 0.5).astype(np.float32) / cell
        weight = fraction * fraction * (3 - 2 * fraction)
        weight = weight[:, None] if axis == 0 else weight[None, :]
        count = values.shape[axis]
        first, second = values.take(low % count, axis), values.take((low + 1) % count, axis)
        return first + weight * (second - first)

    texture = interpolate(interpolate(lattice, cell_height, 0), cell_width, 1).astype(np.float32)
    texture.setflags(write=False)
    return texture
