"""How likely each position is to be masked: the laws that the docstrings state, held by χ² tests.

Positions of one mask depend on one another, so Pearson's statistic of their counts is not χ². Two that are: the place
of one masked position a sample, picked independently of the mask (counts over n classes); and Wald's statistic of all
positions with their own covariance. Seeds are fixed: a test passes always or never.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.span_mask_statistics import survival
from gptface.ops import (
    FacialRegions,
    Fixed,
    Geometric,
    ImageBlocks,
    ImageRandom,
    MaskGITCosine,
    Multimodal,
    TextSpans,
    implementations,
    sample_span_mask,
)

NATIVE = any(found.name == "cpu" and found.available for found in implementations("sample_span_mask"))
SAMPLES = 100_000 if NATIVE else 4_000


def p_of_one_position_a_sample(mask: np.ndarray, expected: np.ndarray | None = None) -> float:
    """χ² over positions of one masked position drawn from every sample."""
    rng = np.random.default_rng(0)
    mask = mask[mask.any(1)]
    rank = (rng.random(len(mask)) * mask.sum(1)).astype(int)
    chosen = (mask.cumsum(1) > rank[:, None]).argmax(1)
    counts = np.bincount(chosen, minlength=mask.shape[1])
    expected = np.full(mask.shape[1], 1 / mask.shape[1]) if expected is None else expected
    wanted = len(mask) * expected
    return survival(float(((counts - wanted) ** 2 / wanted).sum()), len(counts) - 1)


def p_of_all_positions(mask: np.ndarray, probability: float) -> float:
    """Wald's test that every position is masked with ``probability``."""
    values = mask.astype(np.float64)
    difference = values.mean(0) - probability
    values, vectors = np.linalg.eigh(np.cov(values, rowvar=False))
    used = values > 1e-9 * values.max()
    statistic = len(mask) * float(((vectors[:, used].T @ difference) ** 2 / values[used]).sum())
    return survival(statistic, int(used.sum()))


def draw(spec: object, layout: object = None, samples: int = SAMPLES, **keywords: object) -> np.ndarray:
    return sample_span_mask(spec, layout, seed=2024, step=0, sample_ids=np.arange(samples), **keywords).mask


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (TextSpans(0.15), 37),
        (TextSpans(0.15, Fixed(5)), 20),
        (TextSpans(0.5, Geometric(0.2, 10), min_gap=0), 37),
        (TextSpans(0.8, min_gap=3), 24),
        (ImageBlocks((6, 7), 0.4), 42),
        (ImageBlocks((5, 9), 0.75, minimum=8), 45),
        (ImageBlocks((7, 7), 0.2, aspect=(0.1, 10.0), minimum=2, maximum=6), 49),
        (ImageRandom((6, 7), 0.3), 42),
        (ImageRandom((6, 7), 0.7), 42),
        (FacialRegions((6, 6), [], 0.4), 36),
    ],
    ids=repr,
)
def test_every_position_is_masked_with_probability_m_over_n(spec: object, size: int) -> None:
    samples = SAMPLES
    layout = np.full(samples, size) if isinstance(spec, TextSpans) else None
    keywords = {"region_map": np.zeros((samples, size), np.int32)} if isinstance(spec, FacialRegions) else {}
    mask = draw(spec, layout, samples, **keywords)
    counts = mask.sum(1)
    assert (counts == counts[0]).all()
    assert p_of_one_position_a_sample(mask) > 1e-3
    assert p_of_all_positions(mask, counts[0] / size) > 1e-3


@pytest.mark.parametrize(
    "spec", [TextSpans((0.1, 0.9)), TextSpans(MaskGITCosine()), ImageBlocks((5, 6), MaskGITCosine())]
)
def test_random_ratios_keep_positions_alike(spec: object) -> None:
    mask = draw(spec, np.full(SAMPLES, 30) if isinstance(spec, TextSpans) else None)
    assert p_of_one_position_a_sample(mask) > 1e-3
    assert p_of_all_positions(mask, float(mask.mean())) > 1e-3


def test_words_and_scattered_positions_are_alike() -> None:
    rng = np.random.default_rng(1)
    words = np.cumsum(rng.random(40) < 0.6)[None].repeat(SAMPLES, 0)
    number = len(np.unique(words[0]))
    mask = draw(TextSpans(0.3, whole_words=True), np.full(SAMPLES, 40), word_ids=words)
    assert p_of_all_positions(mask, round(0.3 * number) / number) > 1e-3
    eligible = (rng.random(40) < 0.6)[None].repeat(SAMPLES, 0)
    mask = draw(TextSpans(0.3), eligible)[:, eligible[0]]
    assert p_of_all_positions(mask, mask[0].mean()) > 1e-3


def test_both_parts_of_a_joint_sequence() -> None:
    modality = np.array([0] + [1] * 21 + [0] + [2] * 30 + [0], np.int8)[None].repeat(SAMPLES, 0)
    mask = draw(Multimodal(TextSpans(0.2), ImageBlocks((5, 6), 0.5)), modality)
    assert not mask[:, modality[0] == 0].any()
    assert p_of_all_positions(mask[:, modality[0] == 1], 4 / 21) > 1e-3
    assert p_of_all_positions(mask[:, modality[0] == 2], 15 / 30) > 1e-3
    # and they are independent of one another
    text, image = mask[:, 3].astype(float), mask[:, 30].astype(float)
    assert abs(np.corrcoef(text, image)[0, 1]) < 4 / np.sqrt(len(mask))


def test_regions_of_equal_size_and_weight_are_alike_and_weights_are_odds() -> None:
    regions = np.random.default_rng(3).permutation(np.repeat(np.arange(6), 8))[None].repeat(SAMPLES, 0)
    mask = draw(FacialRegions((6, 8), [1.0] * 6, 0.5), region_map=regions)
    first = np.array([np.flatnonzero(regions[0] == label)[0] for label in range(6)])
    assert p_of_all_positions(mask[:, first], 0.5) > 1e-3
    one = draw(FacialRegions((6, 8), [1.0, 2.0, 3.0, 4.0, 0.0, 0.0], 8 / 48), region_map=regions)[:, first]
    expected = np.array([1, 2, 3, 4, 0, 0]) / 10
    counts = one.sum(0)
    assert counts[4] == counts[5] == 0
    statistic = float(((counts[:4] - len(one) * expected[:4]) ** 2 / (len(one) * expected[:4])).sum())
    assert survival(statistic, 3) > 1e-3


def test_gaps_are_a_uniform_composition() -> None:
    """Two spans of two on a ring of nine: 9 turns × 4 compositions of 3 free units."""
    mask = draw(TextSpans(4 / 9, Fixed(2), min_gap=1), np.full(SAMPLES, 9))
    codes, counts = np.unique(mask @ (1 << np.arange(9)), return_counts=True)
    expected: dict[int, int] = {}
    for turn in range(9):
        for first in range(4):
            second = (turn + 2 + 1 + first) % 9
            code = sum(1 << (place % 9) for place in (turn, turn + 1, second, second + 1))
            expected[code] = expected.get(code, 0) + 1
    assert set(codes) == set(expected)
    wanted = np.array([expected[int(code)] for code in codes]) * len(mask) / 36
    assert survival(float(((counts - wanted) ** 2 / wanted).sum()), len(codes) - 1) > 1e-3


def test_the_tests_reject_a_sampler_that_neglects_the_border() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 28, SAMPLES)
    mask = (np.arange(30) >= starts[:, None]) & (np.arange(30) < starts[:, None] + 3)
    assert p_of_one_position_a_sample(mask) < 1e-6
    assert p_of_all_positions(mask, 0.1) < 1e-6
