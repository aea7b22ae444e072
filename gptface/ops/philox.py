"""Philox4x32-10, the counter-based random generator that every implementation of every operator shares.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Four 32-bit words of output for a
counter of four 32-bit words and a key of two; the same counter and key always give the same words, on any device.
The C++/CUDA twin is ``csrc/include/gptface/philox.h``.
"""

from __future__ import annotations

from typing import TypeVar

import torch

__all__ = ["philox4x32"]

Word = TypeVar("Word", int, torch.Tensor)

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox4x32(
    counter: tuple[Word, Word, Word, Word], key: tuple[Word, Word], rounds: int = 10
) -> tuple[Word, Word, Word, Word]:
    """Four random 32-bit words for each counter and key.

    Args:
        counter: four words, each a Python integer or an int64 tensor with values in [0, 2³²); they broadcast.
        key: two words, likewise.
        rounds: 10 for the generator that passes the Random123 known answers.

    Returns:
        Four words in [0, 2³²), integers if all arguments are integers, otherwise int64 tensors.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        # int64 products wrap modulo 2⁶⁴; both halves are still right after masking, and unbounded integers agree.
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _MASK) ^ c1 ^ k0,
            product1 & _MASK,
            ((product0 >> 32) & _MASK) ^ c3 ^ k1,
            product0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3
