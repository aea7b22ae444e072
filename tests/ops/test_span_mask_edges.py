"""Specifications at their edges: nothing or everything eligible, nothing or everything masked, budgets without room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    implementations,
    sample_span_mask,
)

IMPLS = [found.name for found in implementations("sample_span_mask") if found.available and found.name != "cuda"]
LAWS = st.one_of(
    st.builds(Geometric, st.floats(0.01, 1), st.integers(1, 128)),
    st.builds(Poisson, st.floats(0.01, 1), st.integers(1, 128)),
    st.builds(Normal, st.floats(0.01, 1), st.floats(1e-3, 1e3), st.integers(1, 128)),
    st.builds(lambda low, more: Uniform(low, low + more), st.integers(1, 300), st.integers(0, 300)),
    st.builds(Fixed, st.integers(1, 400)),
)
RATIOS = st.one_of(
    st.sampled_from([0.0, 1.0, 1e-9, 1 - 1e-9]),
    st.floats(0, 1),
    st.tuples(st.floats(0, 0.5), st.floats(0.5, 1)),
    st.just(MaskGITCosine()),
)
EDGES = st.sampled_from([0, 1, 2, 63, 64, 65])


def counts_allowed(ratio: Any, units: int, least: int = 0) -> range:
    """The counts that the docstrings allow for so many units, of which ``least`` are masked at least."""
    found = by_ratio(ratio, units)
    least = min(least, units) if ratio not in (0, (0, 0)) else 0
    return range(max(found.start, least), max(found.stop, least + 1))


def by_ratio(ratio: Any, units: int) -> range:
    if isinstance(ratio, MaskGITCosine):
        return range(units + 1)
    if isinstance(ratio, tuple):
        # Ends of a range are kept in units of 2⁻³⁰.
        low, high = (round(end * 2**30) / 2**30 for end in ratio)
        return range(round(low * units), round(high * units) + 1)
    return range(round(ratio * units), round(ratio * units) + 1)


@pytest.mark.parametrize("impl", IMPLS)
@given(law=LAWS, ratio=RATIOS, gap=st.one_of(st.integers(0, 3), st.just(10**6)), lengths=st.lists(EDGES, max_size=3))
@settings(max_examples=80, deadline=None)
def test_text(impl: str, law: Any, ratio: Any, gap: int, lengths: list[int]) -> None:
    """Spans longer than the sample and gaps without room included: the count is met, the gap gives way."""
    found = sample_span_mask(
        TextSpans(ratio, law, gap), lengths, seed=1, step=0, sample_ids=list(range(len(lengths))), impl=impl
    )
    for mask, length in zip(found.mask, lengths, strict=True):
        assert int(mask.sum()) in counts_allowed(ratio, length, 1) and not mask[length:].any()


@pytest.mark.parametrize("impl", IMPLS)
@given(
    law=LAWS,
    ratio=RATIOS,
    tokens=st.lists(st.tuples(st.sampled_from([-2, -1, 0, 1, 2]), st.booleans()), max_size=30),
)
@settings(max_examples=80, deadline=None)
def test_whole_words(impl: str, law: Any, ratio: Any, tokens: list[tuple[int, bool]]) -> None:
    """Words of one token (every negative id), words that go on behind ineligible tokens, no word at all."""
    ids = np.array([[word for word, _ in tokens]], np.int64).reshape(1, -1)
    eligible = np.array([[inside for _, inside in tokens]], bool).reshape(1, -1)
    spec = TextSpans(ratio, law, whole_words=True)
    found = sample_span_mask(spec, eligible, seed=1, step=0, sample_ids=[5], word_ids=ids, impl=impl)
    words: list[list[int]] = []
    before = None
    for place in np.flatnonzero(eligible[0]):
        if before is None or before < 0 or ids[0, place] != before:
            words.append([])
        words[-1].append(int(place))
        before = int(ids[0, place])
    masked = [found.mask[0, word] for word in words]
    assert not found.mask[~eligible].any() and all(word.all() or not word.any() for word in masked)
    assert sum(bool(word.all()) for word in masked) in counts_allowed(ratio, len(words), 1)


@pytest.mark.parametrize("impl", IMPLS)
@given(
    grid=st.tuples(st.sampled_from([1, 2, 8, 9]), st.sampled_from([1, 3, 8])),
    ratio=RATIOS,
    minimum=st.sampled_from([1, 5, 1000]),
    aspect=st.sampled_from([(1 / 256, 256.0), (1.0, 1.0), (256.0, 256.0)]),
    eligible=st.sampled_from(["none", "one", "all"]),
)
@settings(max_examples=80, deadline=None)
def test_image(impl: str, grid: Any, ratio: Any, minimum: int, aspect: Any, eligible: str) -> None:
    """Blocks larger than the grid, or thinner than a cell, included."""
    cells = grid[0] * grid[1]
    allowed = np.zeros((2, cells), bool)
    allowed[:, : {"none": 0, "one": 1, "all": cells}[eligible]] = True
    regions = np.arange(2 * cells).reshape(2, cells) % 3
    for spec in (
        ImageRandom(grid, ratio),
        ImageBlocks(grid, ratio, aspect, minimum),
        FacialRegions(grid, (1.0, 2.0), ratio, (2,), aspect, minimum),
    ):
        whole = isinstance(spec, FacialRegions)
        extra = {"region_map": regions} if whole else {}
        found = sample_span_mask(spec, allowed, seed=1, step=0, sample_ids=[5, 6], impl=impl, **extra)
        free = allowed & (regions != 2) if whole else allowed
        assert not (found.mask & ~free).any()
        for mask, units in zip(found.mask, free.sum(1).tolist(), strict=True):
            assert int(mask.sum()) in counts_allowed(ratio, units)


@pytest.mark.parametrize("impl", IMPLS)
@given(text=RATIOS, image=RATIOS, kinds=st.lists(st.sampled_from([0, 1, 2, 3]), max_size=40))
@settings(max_examples=80, deadline=None)
def test_joint_sequences_of_any_make(impl: str, text: Any, image: Any, kinds: list[int]) -> None:
    """More image positions than cells, no text, nothing at all included."""
    modality = np.array([kinds], np.int8).reshape(1, -1)
    spec = Multimodal(TextSpans(text), ImageBlocks((3, 4), image))
    mask = sample_span_mask(spec, modality, seed=1, step=0, sample_ids=[5], impl=impl).mask
    assert not mask[(modality == 0) | (modality == 3)].any()
    cells = np.flatnonzero(modality[0] >= 2)[:12]
    seen = [cell for cell in cells if modality[0, cell] == 2]
    assert int(mask[modality == 1].sum()) in counts_allowed(text, int((modality == 1).sum()), 1)
    assert int(mask[0, seen].sum()) in counts_allowed(image, len(seen))
    assert int(mask[modality == 2].sum()) == int(mask[0, seen].sum())
