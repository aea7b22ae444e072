"""A specification as integers: the one form that the reference, the CPU kernel and the CUDA kernel all read.

Everything that could differ between machines (logarithms, powers, sums of probabilities) is worked out here once, on
the host, and handed on as fixed-point integers. What is left to the kernels is integer arithmetic, one IEEE
multiplication and one rounding to the nearest even integer, which every device does alike. The C++ twin of this file
is ``csrc/include/gptface/span_mask_program.h``.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = [
    "ASPECTS",
    "IMAGE_BLOCKS",
    "IMAGE_NONE",
    "IMAGE_RANDOM",
    "IMAGE_REGIONS",
    "LAW_TABLE",
    "LAW_UNIFORM",
    "MAXIMUM_REGIONS",
    "MAXIMUM_TABLE",
    "RATIO_COSINE",
    "RATIO_NUMBER",
    "RATIO_RANGE",
    "ImageProgram",
    "LengthLaw",
    "Program",
    "Ratio",
    "TextProgram",
]

RATIO_NUMBER, RATIO_RANGE, RATIO_COSINE = 0, 1, 2
LAW_UNIFORM, LAW_TABLE = 0, 1
IMAGE_NONE, IMAGE_RANDOM, IMAGE_BLOCKS, IMAGE_REGIONS = 0, 1, 2, 3

MAXIMUM_TABLE = 128
ASPECTS = 32
MAXIMUM_REGIONS = 64


class Ratio(NamedTuple):
    """Masked share: one number (its float64 bits in ``low``), a range in units of 2⁻³⁰, or MaskGIT's cosine."""

    kind: int
    low: int
    high: int

    @classmethod
    def number(cls, value: float) -> Ratio:
        return cls(RATIO_NUMBER, struct.unpack("<q", struct.pack("<d", value))[0], 0)

    def value(self) -> float:
        """The number of a ``RATIO_NUMBER``."""
        return float(struct.unpack("<d", struct.pack("<q", self.low))[0])

    def largest(self) -> float:
        """The largest ratio that can be drawn."""
        if self.kind == RATIO_NUMBER:
            return self.value()
        return self.high / 2**30 if self.kind == RATIO_RANGE else 1.0


class LengthLaw(NamedTuple):
    """Span lengths: uniform on [low, high], or ``low + i`` for the first i with ``word < table[i]`` (32-bit words)."""

    kind: int
    low: int
    high: int
    table: tuple[int, ...]


class TextProgram(NamedTuple):
    ratio: Ratio
    minimum: int  # units masked at least, where the sample has so many
    min_gap: int
    whole_words: bool
    law: LengthLaw


class ImageProgram(NamedTuple):
    kind: int
    ratio: Ratio
    height: int
    width: int
    minimum: int
    maximum: int
    aspects: tuple[int, ...]  # height / width of a block in units of 2⁻¹⁶, ASPECTS of them, equally likely
    weights: tuple[int, ...]  # of the regions, by label
    kept: int  # bit r: cells of region r are never masked


class Program(NamedTuple):
    """Both parts; ``None`` for a modality that the specification leaves alone."""

    text: TextProgram | None
    image: ImageProgram | None

    def encode(self) -> tuple[int, ...]:
        """The words that travel to a kernel: 22 of fixed meaning, then the three tables."""
        text = self.text or TextProgram(Ratio(0, 0, 0), 0, 0, False, LengthLaw(LAW_UNIFORM, 1, 1, ()))
        image = self.image or ImageProgram(IMAGE_NONE, Ratio(0, 0, 0), 0, 0, 0, 0, (), (), 0)
        head = (
            int(self.text is not None),
            *text.ratio,
            text.minimum,
            text.min_gap,
            int(text.whole_words),
            text.law.kind,
            text.law.low,
            text.law.high,
            image.kind,
            *image.ratio,
            image.height,
            image.width,
            image.minimum,
            image.maximum,
            image.kept - (1 << 64) if image.kept >> 63 else image.kept,
            len(text.law.table),
            len(image.aspects),
            len(image.weights),
        )
        return (*head, *text.law.table, *image.aspects, *image.weights)

    @classmethod
    def decode(cls, words: tuple[int, ...]) -> Program:
        """The inverse of :meth:`encode`."""
        tables, aspects, weights = words[19:22]
        law_end, aspects_end = 22 + tables, 22 + tables + aspects
        law = LengthLaw(words[7], words[8], words[9], tuple(words[22:law_end]))
        text = TextProgram(Ratio(*words[1:4]), words[4], words[5], bool(words[6]), law)
        image = ImageProgram(
            words[10],
            Ratio(*words[11:14]),
            words[14],
            words[15],
            words[16],
            words[17],
            tuple(words[law_end:aspects_end]),
            tuple(words[aspects_end : aspects_end + weights]),
            words[18] & (2**64 - 1),
        )
        return cls(text if words[0] else None, None if image.kind == IMAGE_NONE else image)
