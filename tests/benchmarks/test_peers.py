"""The span-mask peers do what their papers and documentation say, shortcomings included."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.patterns import PATTERNS, make_pattern
from benchmarks.peers.flex_attention import mask_function
from benchmarks.peers.span_masks import beit_blocks, fairseq_spans, hugging_face_spans, ijepa_targets, t5_spans
from benchmarks.peers.torch_sdpa import dense_mask

CPU = torch.device("cpu")


def spans(row: np.ndarray) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return [int(stop - start) for start, stop in edges.reshape(-1, 2)]


@settings(deadline=None, max_examples=30)
@given(st.integers(10, 200), st.floats(0.05, 0.6), st.integers(0, 1000))
def test_t5_masks_an_exact_count_in_a_fixed_number_of_spans(length: int, ratio: float, seed: int) -> None:
    mask = t5_spans(4, length, ratio, 3.0, np.random.default_rng(seed))
    noise = min(max(round(length * ratio), 1), length - 1)
    expected = max(round(noise / 3.0), 1)
    assert (mask.sum(1) == noise).all()
    assert all(len(spans(row)) == expected for row in mask)


def test_t5_never_masks_the_first_token_and_always_the_last() -> None:
    mask = t5_spans(400, 100, 0.15, 3.0, np.random.default_rng(0))
    assert not mask[:, 0].any()
    assert mask[:, -1].all()


def test_t5_compositions_are_uniform() -> None:
    # Three noise tokens in one or more spans of mean 3: with 8 of 20 masked in 3 spans, all 21 compositions of 8 occur.
    mask = t5_spans(6000, 20, 0.4, 3.0, np.random.default_rng(1))
    counts: dict[tuple[int, ...], int] = {}
    for row in mask:
        key = tuple(spans(row))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == math.comb(7, 2)
    expected = 6000 / len(counts)
    chi = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi < 52.4  # 99.99 % quantile with 20 degrees of freedom


def test_fairseq_spans_overlap_and_fall_short_of_the_ratio() -> None:
    mask = fairseq_spans(512, 334, 0.5, 10, np.random.default_rng(0))
    assert len(set(mask.sum(1))) == 1, "every sample has the count of the sparsest"
    # Asked for half, overlaps leave 1 - (1 - 1/33)^... of it: about 0.4 on average, less after thinning.
    assert 0.28 < mask.mean() < 0.42


def test_hugging_face_spans_have_the_stated_length_and_overlap() -> None:
    mask = hugging_face_spans(512, 334, 0.5, 10, np.random.default_rng(0))
    assert all(min(spans(row)) >= 10 for row in mask)
    # 16 or 17 starts without replacement out of 325: expected share of what at least one span covers.
    expected = 1 - math.comb(325 - 10, 16) / math.comb(325, 16)
    assert mask[:, 20:-20].mean() == pytest.approx(expected, abs=0.03)
    assert mask[:, 0].mean() < 0.5 * mask[:, 100].mean(), "the ends are masked less than the middle"


def test_beit_stays_within_the_budget_in_blocks_and_neglects_corners() -> None:
    mask = beit_blocks(300, (14, 14), int(0.4 * 14 * 14), random.Random(0)).reshape(300, -1)
    budget = int(0.4 * 14 * 14)
    assert (mask.sum(1) <= budget).all()
    exact = (mask.sum(1) == budget).mean()
    assert 0.3 < exact < 1.0, "many samples are left short after ten failed attempts"
    marginal = mask.mean(0).reshape(14, 14)
    assert marginal[0, 0] < 0.3 * marginal[7, 7]


def test_beit_masks_blocks_of_at_least_the_minimum() -> None:
    first = beit_blocks(100, (14, 14), 17, random.Random(1)).reshape(
        100, -1
    )  # a block of 16 or 17 patches, and rests that overlap it
    sizes = first.sum(1)
    assert (sizes[sizes > 0] >= 12).all(), "rounding of the sides may cost a few patches, no more"

    def one_rectangle(row: np.ndarray) -> bool:
        rows, columns = np.nonzero(row.reshape(14, 14))
        return len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)

    assert np.mean([one_rectangle(row) for row in first[sizes > 0]]) > 0.3


def test_ijepa_targets_cover_its_shares_and_never_the_last_row_or_column() -> None:
    stacked = np.zeros((400, 196), dtype=bool)
    for seed in range(20):
        targets, contexts = ijepa_targets(20, (14, 14), random.Random(seed))
        own = stacked[20 * seed : 20 * (seed + 1)]
        np.put_along_axis(own, targets.reshape(20, -1), True, axis=1)
        assert not np.take_along_axis(own, contexts, axis=1).any(), "the context leaves the targets out"
    stacked = stacked.reshape(-1, 14, 14)
    assert not stacked[:, -1].any()
    assert not stacked[:, :, -1].any()
    share = stacked.mean((1, 2))
    # Four blocks of 15 to 20 %, overlapping: at least one block's worth, at most all four.
    assert share.min() >= 0.13
    assert share.max() <= 0.8
    assert 0.3 < share.mean() < 0.6


@pytest.mark.parametrize("sampler", [fairseq_spans, t5_spans, hugging_face_spans])
def test_text_samplers_follow_their_generator(sampler) -> None:  # type: ignore[no-untyped-def]
    first, again, other = (sampler(4, 80, 0.3, 4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def _pattern(kind: str):  # type: ignore[no-untyped-def]
    options = {"prefix": 9, "shortest": 3, "longest": 11, "window": 5, "image": 10, "captions": 3}
    return make_pattern(kind, 4 if kind == "mixed" else 1, 43, options, CPU, queries=5 if kind == "cache" else 0)


@pytest.mark.parametrize("kind", PATTERNS)
def test_every_way_of_writing_a_pattern_says_the_same(kind: str) -> None:
    pattern = _pattern(kind)
    visible = pattern.visible()
    mask = pattern.interval_mask()
    if mask is not None:
        assert torch.equal(mask.to_dense(), visible)
    assert pattern.pairs() == int(visible.sum()) * (pattern.batch // visible.shape[0])
    rows = pattern.rows
    blocks = torch.cat([pattern.visible(first, min(first + 10, rows)) for first in range(0, rows, 10)], dim=1)
    assert torch.equal(blocks, visible)
    if kind == "dense":
        return
    filled = ~(visible.any(-1, keepdim=True))
    if kind != "cache":  # which FlexAttention is not compared on
        b, i, j = torch.meshgrid(torch.arange(visible.shape[0]), torch.arange(43), torch.arange(43), indexing="ij")
        flex = mask_function(pattern)(b, torch.zeros(()), i, j)
        assert torch.equal(flex & ~filled, visible & ~filled)
    dense = dense_mask(pattern, None)[:, 0]
    assert torch.equal(dense & ~filled, visible)
    assert bool(dense.any(-1).all()), "no row that peers are given is empty"
    assert torch.equal(dense_mask(pattern, torch.float32)[:, 0] == 0, dense)


def test_mixed_pattern_has_all_three_regimes() -> None:
    pattern = make_pattern("mixed", 8, 334, {}, CPU)
    assert pattern.lengths is not None
    assert pattern.prefix_lengths is not None
    assert int(pattern.lengths.max()) == 334
    bidirectional = pattern.prefix_lengths == pattern.lengths
    assert int(bidirectional.sum()) == 4
    assert int((pattern.prefix_lengths == 258).sum()) == 2
