"""The random numbers of one sample: a Philox stream named by (seed, step, sample id, purpose), and nothing else.

Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
C++ twin: ``gptface::RandomStream`` in ``csrc/include/gptface/philox.h``.
"""

from __future__ import annotations

__all__ = [
    "PURPOSE_CORRUPTION",
    "PURPOSE_IMAGE",
    "PURPOSE_REPLACEMENT",
    "PURPOSE_TEXT",
    "RandomStream",
    "philox_block",
    "sample_key",
]

PURPOSE_TEXT, PURPOSE_IMAGE, PURPOSE_CORRUPTION, PURPOSE_REPLACEMENT = 0, 1, 2, 3

# Keeps these streams apart from other users of Philox under the same seed (attention dropout): "span", "mask".
_DOMAIN = (0x7370616E, 0x6D61736B)


def sample_key(seed: int) -> tuple[int, int]:
    """The Philox key of a 64-bit seed."""
    return (seed & 0xFFFFFFFF) ^ _DOMAIN[0], (seed >> 32 & 0xFFFFFFFF) ^ _DOMAIN[1]


def philox_block(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 in integers; ``gptface.ops.philox`` is the same on tensors, for many counters at once."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = second >> 32 ^ c1 ^ k0, second & 0xFFFFFFFF, first >> 32 ^ c3 ^ k1, first & 0xFFFFFFFF
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return c0, c1, c2, c3


class RandomStream:
    """Word i is word ``i % 4`` of the Philox block with counter ``(i // 4 | purpose << 28, step, sample id)``."""

    def __init__(self, seed: int, step: int, sample_id: int, purpose: int) -> None:
        self.key = sample_key(seed)
        self.tail = (step & 0xFFFFFFFF, sample_id & 0xFFFFFFFF, sample_id >> 32 & 0xFFFFFFFF)
        self.purpose = purpose
        self.drawn = 0
        self.block: tuple[int, ...] = ()

    def word(self) -> int:
        """The next word, uniform on [0, 2³²)."""
        lane = self.drawn % 4
        if lane == 0:
            self.block = philox_block((self.drawn // 4 | self.purpose << 28, *self.tail), self.key)
        self.drawn += 1
        return self.block[lane]

    def below(self, bound: int) -> int:
        """Uniform on 0 … bound − 1, without bias (Lemire 2019: multiply, reject the few words that would tilt it)."""
        product = self.word() * bound
        while product & 0xFFFFFFFF < (2**32 - bound) % bound:
            product = self.word() * bound
        return product >> 32
