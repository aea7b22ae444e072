"""Random specifications of span masks and inputs that fit them: for tests, evidence and proofs, one generator."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gptface.ops import (
    FacialRegions,
    Fixed,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskGITCosine,
    Multimodal,
    Normal,
    Poisson,
    TextSpans,
    Uniform,
)


class Case(NamedTuple):
    """A call of ``sample_span_mask``: ``sample_span_mask(case.spec, case.layout, **case.keywords)``."""

    spec: Any
    layout: Any
    keywords: dict[str, Any]


def random_ratio(rng: np.random.Generator) -> Any:
    kind = rng.integers(4)
    if kind == 0:
        return float(rng.choice([0.0, 1.0, 0.15, 0.5, 1 / 3]))
    if kind == 1:
        return float(rng.random())
    if kind == 2:
        low, high = sorted(rng.random(2))
        return (float(low), float(high))
    return MaskGITCosine()


def random_text(rng: np.random.Generator) -> TextSpans:
    low = int(rng.integers(1, 6))
    lengths: Any = [
        Geometric(float(rng.uniform(0.05, 1)), int(rng.integers(1, 20))),
        Poisson(float(rng.uniform(0.2, 5)), int(rng.integers(5, 20))),
        Normal(float(rng.uniform(0.2, 8)), float(rng.uniform(0.01, 6)), int(rng.integers(8, 20))),
        Uniform(low, low + int(rng.integers(0, 30))),
        Fixed(int(rng.integers(1, 9))),
    ][rng.integers(5)]
    minimum = int(rng.choice([0, 1, 1, 2, 7, 100]))
    return TextSpans(random_ratio(rng), lengths, int(rng.integers(0, 5)), bool(rng.random() < 0.3), minimum)


def random_image(rng: np.random.Generator, largest: int = 12) -> Any:
    grid = (int(rng.integers(1, largest + 1)), int(rng.integers(1, largest + 1)))
    if rng.random() < 0.05:  # rows over several words of a bit set
        grid = (int(rng.integers(1, 4)), int(rng.integers(60, 140)))
    ratio = random_ratio(rng)
    kind = rng.integers(3)
    if kind == 0:
        return ImageRandom(grid, ratio)
    low = float(rng.uniform(0.05, 1))
    minimum = int(rng.integers(1, 20))
    maximum = None if rng.random() < 0.5 else minimum + int(rng.integers(0, 20))
    blocks = {"ratio": ratio, "aspect": (low, low * float(rng.uniform(1, 20))), "minimum": minimum, "maximum": maximum}
    if kind == 1:
        return ImageBlocks(grid, **blocks)
    weights = [float(w) for w in rng.random(rng.integers(0, 9)) * (rng.random() < 0.9)]
    return FacialRegions(grid, weights, keep=tuple(int(k) for k in rng.integers(0, 9, rng.integers(0, 3))), **blocks)


def random_case(rng: np.random.Generator) -> Case:
    """Any specification with inputs that fit it, few samples, short sequences."""
    batch = int(rng.integers(0, 5))
    keywords: dict[str, Any] = {
        "seed": int(rng.integers(-(2**63), 2**63 - 1)),
        "step": int(rng.integers(0, 2**32)),
        "sample_ids": rng.integers(-(2**63), 2**63 - 1, batch),
    }
    kind = rng.integers(3)
    text = random_text(rng) if kind != 1 else None
    image = random_image(rng) if kind != 0 else None
    cells = image.grid[0] * image.grid[1] if image is not None else 0
    if kind == 0:
        spec: Any = text
        size = int(rng.integers(0, 70))
        if rng.random() < 0.5:
            layout: Any = rng.integers(0, size + 1, batch)
            keywords["max_length"] = size
        else:
            layout = rng.random((batch, size)) < rng.random()
    elif kind == 1:
        spec, size = image, cells
        layout = [None, rng.random((batch, size)) < rng.random(), rng.integers(0, size + 1, batch)][rng.integers(3)]
    else:
        spec = Multimodal(text, image) if rng.random() < 0.9 else Multimodal(None, image)
        size = int(rng.integers(0, 120))
        layout = rng.choice([0, 1, 1, 2, 2, 2, 3], (batch, size)).astype(np.int8)
        if rng.random() < 0.5:
            layout.sort(axis=1)
    if text is not None and text.whole_words:
        keywords["word_ids"] = np.cumsum(rng.random((batch, size)) < 0.6, axis=1) - int(rng.integers(0, 4))
    if isinstance(image, FacialRegions):
        keywords["region_map"] = rng.integers(-1, 10, (batch, cells))
    return Case(spec, layout, keywords)
