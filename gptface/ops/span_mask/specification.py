"""What can be masked and how much: the specifications of ``sample_span_mask``, frozen and self-printing.

Each docstring states the law of the masks it gives: how lengths and places are drawn, and how likely a position is to
be masked. ``m`` is the exact number of masked positions, ``round(ratio · n)`` with Python's rounding (ties to even, of
the float64 product) for ``n`` eligible positions; text has a ``minimum`` beside it, so that rounding leaves no short
caption untouched for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gptface.errors import InputError
from gptface.ops.span_mask.laws import (
    LARGEST_SIZE,
    Fixed,
    Geometric,
    Lengths,
    MaskGITCosine,
    Normal,
    Poisson,
    RatioLike,
    Uniform,
    make_plain,
    read_ratio,
    whole,
)
from gptface.ops.span_mask.program import (
    ASPECTS,
    IMAGE_BLOCKS,
    IMAGE_RANDOM,
    IMAGE_REGIONS,
    MAXIMUM_REGIONS,
    ImageProgram,
    Program,
    TextProgram,
)

__all__ = [
    "FacialRegions",
    "Fixed",
    "Geometric",
    "ImageBlocks",
    "ImageRandom",
    "Lengths",
    "MaskGITCosine",
    "Multimodal",
    "Normal",
    "Poisson",
    "RatioLike",
    "Specification",
    "TextSpans",
    "Uniform",
]


class Specification:
    """Base of what ``sample_span_mask`` takes: a frozen dataclass with its integer form, worked out once.

    Make specifications outside compiled code; inside, they are constants.
    """

    decoded: Program
    encoded: tuple[int, ...]  # what the kernels read

    def program(self) -> Program:
        """The integer form of the specification."""
        raise TypeError(f"{type(self).__name__} is not a specification")

    def _encode(self) -> None:
        program = self.program()
        object.__setattr__(self, "decoded", program)
        object.__setattr__(self, "encoded", program.encode())


@dataclass(frozen=True)
class TextSpans(Specification):
    """Contiguous spans over the eligible positions of a sample.

    Law. Of n eligible positions exactly m = max(round(ratio · n), min(``minimum``, n)) are masked: as the ratio says,
    but one at least where anything is eligible, so that short texts are learned from too (rounding alone would never
    mask a text of up to three pieces at 0.15). ``minimum=0`` is the rounded ratio alone; a ratio of 0 masks nothing.
    The n eligible positions, in order, form a ring. Lengths are drawn independently from ``lengths`` until their
    sum reaches m; the last is cut to make it exactly m. The n − m unmasked positions are dealt into the gaps between
    successive spans: ``min_gap`` each, the rest by a composition drawn uniformly from all. The ring is then turned by a
    uniform draw. Hence:

    - **every eligible position is masked with probability m/n exactly**, the first and the last one included;
    - the count is exact, for every n and ratio;
    - all spans but the cut one follow the stated law, as draws that stop when the budget is reached;
    - a span that crosses the end of the sample (at most one) goes on at its beginning, and one that crosses
      ineligible positions goes on behind them; each contiguous piece counts as a span of its own in ``span_ids``;
    - where k spans leave fewer than k · min_gap unmasked positions, the gap shrinks to (n − m) // k: the count wins.

    With ``whole_words`` the unit is the word and not the position: n counts the words of a sample (runs of eligible
    positions with one word id), exactly m words are masked, each whole, ``lengths``, ``minimum`` and ``min_gap`` count
    words, and every position is masked with probability m/n. The number of masked positions then varies.

    Attributes:
        ratio: a number, a range ``(low, high)`` (uniform for each sample) or ``MaskGITCosine()``.
        lengths: ``Geometric``, ``Poisson``, ``Normal``, ``Uniform`` or ``Fixed``.
        min_gap: unmasked positions between two spans, at least.
        whole_words: mask whole words; needs ``word_ids``.
        minimum: positions masked at least in a sample that has so many; all of them in a shorter one.
    """

    ratio: RatioLike = 0.15
    lengths: Lengths = field(default_factory=Geometric)
    min_gap: int = 1
    whole_words: bool = False
    minimum: int = 1

    def __post_init__(self) -> None:
        make_plain(self)
        whole("TextSpans.min_gap", self.min_gap, 0, LARGEST_SIZE)
        whole("TextSpans.minimum", self.minimum, 0, LARGEST_SIZE)
        if not isinstance(self.lengths, (Geometric, Poisson, Normal, Uniform, Fixed)):
            raise InputError(
                f"TextSpans.lengths is {self.lengths!r}; allowed: Geometric, Poisson, Normal, Uniform, Fixed"
            )
        self._encode()

    def program(self) -> Program:
        ratio = read_ratio("TextSpans", self.ratio)
        minimum = self.minimum if ratio.largest() > 0 else 0
        return Program(TextProgram(ratio, minimum, self.min_gap, bool(self.whole_words), self.lengths.law()), None)


def _grid(owner: str, grid: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(grid, tuple) or len(grid) != 2:
        raise InputError(f"{owner}.grid is {grid!r}; allowed: (height, width) in tokens")
    height = whole(f"{owner}.grid[0]", grid[0], 1, 4096)
    return height, whole(f"{owner}.grid[1]", grid[1], 1, 4096)


def _aspects(owner: str, aspect: tuple[float, float]) -> tuple[int, ...]:
    """``ASPECTS`` values of height / width, evenly spaced in the logarithm, in units of 2⁻¹⁶."""
    if len(aspect) != 2 or not 1 / 256 <= aspect[0] <= aspect[1] <= 256:
        raise InputError(f"{owner}.aspect is {aspect!r}; allowed: 1/256 <= low <= high <= 256 (height / width)")
    low, high = math.log(aspect[0]), math.log(aspect[1])
    return tuple(round(math.exp(low + (high - low) * (i + 0.5) / ASPECTS) * 2**16) for i in range(ASPECTS))


def _block_sizes(owner: str, minimum: int, maximum: int | None, cells: int) -> tuple[int, int]:
    whole(f"{owner}.minimum", minimum, 1, LARGEST_SIZE)
    return minimum, cells if maximum is None else whole(f"{owner}.maximum", maximum, minimum, LARGEST_SIZE)


@dataclass(frozen=True)
class ImageRandom(Specification):
    """Independent tokens of the grid: a uniform subset of exactly m of the n eligible cells.

    **Every eligible cell is masked with probability m/n exactly.** Each masked cell is a span of its own.

    Attributes:
        grid: (height, width) in tokens.
        ratio: a number, a range ``(low, high)`` or ``MaskGITCosine()``.
    """

    grid: tuple[int, int]
    ratio: RatioLike = 0.5

    def __post_init__(self) -> None:
        make_plain(self)
        self._encode()

    def program(self) -> Program:
        height, width = _grid("ImageRandom", self.grid)
        ratio = read_ratio("ImageRandom", self.ratio)
        return Program(None, ImageProgram(IMAGE_RANDOM, ratio, height, width, 1, 1, (), (), 0))


@dataclass(frozen=True)
class ImageBlocks(Specification):
    """Rectangles on the token grid, until exactly m cells are masked.

    Law. The grid is a torus: a rectangle that leaves it on one side enters on the other, so no cell is a border cell.
    A block's area is uniform from ``minimum`` to ``maximum`` (both cut to what is left of the budget), its height /
    width one of 32 values evenly spaced in the logarithm over ``aspect``; both are rounded to whole cells and kept
    within the grid. Its place: a cell drawn uniformly from those still unmasked, at a uniform place inside the
    rectangle. The block that reaches the budget stops there, in reading order. Hence **every cell is masked with
    probability m/n exactly**, a corner as likely as the centre, as long as all cells are eligible. (With ineligible
    cells the count stays exact; cells close to them then differ slightly from m/n.)

    Attributes:
        grid: (height, width) in tokens.
        ratio: a number, a range ``(low, high)`` or ``MaskGITCosine()``.
        aspect: range of height / width.
        minimum: smallest area of a block in tokens (BEiT: 16 of 196; DINOv2: 4).
        maximum: largest area; ``None``: no limit but the budget.
    """

    grid: tuple[int, int]
    ratio: RatioLike = 0.4
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    minimum: int = 4
    maximum: int | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        self._encode()

    def program(self) -> Program:
        height, width = _grid("ImageBlocks", self.grid)
        minimum, maximum = _block_sizes("ImageBlocks", self.minimum, self.maximum, height * width)
        ratio = read_ratio("ImageBlocks", self.ratio)
        aspects = _aspects("ImageBlocks", self.aspect)
        return Program(None, ImageProgram(IMAGE_BLOCKS, ratio, height, width, minimum, maximum, aspects, (), 0))


@dataclass(frozen=True)
class FacialRegions(Specification):
    """Whole regions of the face first, blocks for the rest, until exactly m cells are masked (after PaCo-FR).

    Law. Among the regions of the sample that are unmasked and fit into what is left of the budget, one is drawn with
    probability in proportion to its weight and masked whole; when none is left, blocks as in :class:`ImageBlocks` fill
    the rest, wherever cells are unmasked. All cells of a region are masked together in the first part, so their
    probabilities are equal there: weight alone decides between regions of equal size. There is no closed form beyond
    that, because the map of each face has its say.

    The map of the regions is data and not part of the specification: ``sample_span_mask(..., region_map=(B, h·w))``.

    Attributes:
        grid: (height, width) in tokens.
        ratio: a number, a range ``(low, high)`` or ``MaskGITCosine()``, of the cells that are not kept.
        weights: a weight for each region label: a sequence indexed by label or a mapping (0 for labels it leaves
            out). At most 64 labels; cells with other labels belong to no region.
        keep: labels whose cells are never masked (the eyes, say).
        aspect, minimum, maximum: of the blocks, see :class:`ImageBlocks`.
    """

    grid: tuple[int, int]
    weights: Mapping[int, float] | Sequence[float]
    ratio: RatioLike = 0.4
    keep: tuple[int, ...] = ()
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    minimum: int = 4
    maximum: int | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        weights = self.weights
        if isinstance(weights, Mapping):
            for label in weights:
                whole("FacialRegions.weights: a label", label, 0, MAXIMUM_REGIONS - 1)
            weights = [weights.get(label, 0.0) for label in range(max(weights, default=-1) + 1)]
        weights = tuple(float(weight) for weight in weights)
        if len(weights) > MAXIMUM_REGIONS or not all(0 <= weight < math.inf for weight in weights):
            raise InputError(
                f"FacialRegions.weights is {self.weights!r}; allowed: at most {MAXIMUM_REGIONS} finite numbers >= 0"
            )
        keep = tuple(sorted({whole("FacialRegions.keep: a label", label, 0, 63) for label in self.keep}))
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "keep", keep)
        self._encode()

    def program(self) -> Program:
        height, width = _grid("FacialRegions", self.grid)
        minimum, maximum = _block_sizes("FacialRegions", self.minimum, self.maximum, height * width)
        weights = tuple(self.weights) if not isinstance(self.weights, Mapping) else ()
        total = sum(weights)
        # A positive weight stays positive, however small its share.
        integers = tuple(max(1, round(weight / total * 2**24)) if weight > 0 else 0 for weight in weights)
        ratio, aspects = read_ratio("FacialRegions", self.ratio), _aspects("FacialRegions", self.aspect)
        kept = sum(1 << label for label in self.keep)
        image = ImageProgram(IMAGE_REGIONS, ratio, height, width, minimum, maximum, aspects, integers, kept)
        return Program(None, image)


@dataclass(frozen=True)
class Multimodal(Specification):
    """Both modalities of one joint sequence, each with its own budget and its own random stream.

    Positions are told apart by an int8 tensor ``(B, S)`` in place of lengths: 0 never masked (special tokens,
    padding), 1 text, 2 image, 3 image but never masked. The j-th image position (2 or 3) of a sample is cell j of the
    grid; a sample may have fewer cells than the grid (none, for example), and positions beyond it are never masked. A
    position's law is that of its part: the text mask of a joint sequence is the one that ``text`` alone would give
    for that many tokens.

    Attributes:
        text: a :class:`TextSpans`, or ``None`` to leave text alone.
        image: an :class:`ImageBlocks`, :class:`ImageRandom` or :class:`FacialRegions`, or ``None``.
    """

    text: TextSpans | None
    image: ImageBlocks | ImageRandom | FacialRegions | None

    def __post_init__(self) -> None:
        make_plain(self)
        if not (self.text is None or isinstance(self.text, TextSpans)):
            raise InputError(f"Multimodal.text is {self.text!r}; allowed: TextSpans or None")
        if not (self.image is None or isinstance(self.image, (ImageBlocks, ImageRandom, FacialRegions))):
            raise InputError(
                f"Multimodal.image is {self.image!r}; allowed: ImageBlocks, ImageRandom, FacialRegions, None"
            )
        self._encode()

    def program(self) -> Program:
        text = self.text.program().text if self.text is not None else None
        return Program(text, self.image.program().image if self.image is not None else None)
