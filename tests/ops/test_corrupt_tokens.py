"""``corrupt_tokens``: the stated shares, decisions by span or token, replacements of the token's own modality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.ops import (
    Fixed,
    ImageBlocks,
    ImageRandom,
    Multimodal,
    SpanMask,
    TextSpans,
    corrupt_tokens,
    implementations,
    sample_span_mask,
)

IMPLS = [found.name for found in implementations("corrupt_tokens") if found.available and found.name != "cuda"]
TEXT, IMAGE = (5, 1000), (1000, 1600)
TEXT_MASK, IMAGE_MASK = 3, 1600
RANGES: dict[str, Any] = {"mask_id": (TEXT_MASK, IMAGE_MASK), "vocabulary_ranges": [TEXT, IMAGE]}
SPEC = Multimodal(TextSpans(0.5, Fixed(4)), ImageBlocks((8, 8), 0.5))


def batch(samples: int, seed: int = 0) -> tuple[np.ndarray, SpanMask, np.ndarray]:
    rng = np.random.default_rng(seed)
    modality = np.array([0] + [1] * 40 + [2] * 64, np.int8)[None].repeat(samples, 0)
    tokens = np.where(modality == 2, rng.integers(*IMAGE, modality.shape), rng.integers(*TEXT, modality.shape))
    ids = rng.integers(0, 2**62, samples)
    return tokens, sample_span_mask(SPEC, modality, seed=seed, step=1, sample_ids=ids), ids


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("per", ["span", "token"])
def test_unmasked_tokens_stay_and_replacements_keep_their_modality(impl: str, per: str) -> None:
    tokens, mask, ids = batch(200)
    found = corrupt_tokens(tokens, mask, per=per, seed=0, step=1, sample_ids=ids, impl=impl, **RANGES)
    assert found.dtype == tokens.dtype and (found[~mask.mask] == tokens[~mask.mask]).all()
    text, image = mask.mask[:, :41], mask.mask[:, 41:]
    in_text, in_image = found[:, :41][text], found[:, 41:][image]
    assert ((in_text == TEXT_MASK) | ((in_text >= TEXT[0]) & (in_text < TEXT[1]))).all()
    assert ((in_image == IMAGE_MASK) | ((in_image >= IMAGE[0]) & (in_image < IMAGE[1]))).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_shares_of_mask_random_and_unchanged(impl: str) -> None:
    mask = sample_span_mask(ImageRandom((20, 20), 1.0), seed=0, step=0, sample_ids=np.arange(500))
    tokens = np.full((500, 400), 7)
    keywords: dict[str, Any] = {
        "mask_id": 1000,
        "vocabulary_ranges": [(0, 1000)],
        "seed": 0,
        "step": 0,
        "sample_ids": np.arange(500),
    }
    found = corrupt_tokens(tokens, mask, per="token", impl=impl, **keywords)
    n = found.size
    masked, kept = (found == 1000).mean(), (found == 7).mean()
    assert abs(masked - 0.8) < 4 * np.sqrt(0.16 / n)
    assert abs(kept - 0.1001) < 4 * np.sqrt(0.09 / n)  # a random draw may be the token itself
    drawn = np.bincount(found[(found != 1000) & (found != 7)], minlength=1000)
    statistic = ((drawn - n * 1e-4) ** 2 / (n * 1e-4)).sum()
    assert abs(statistic - 999) < 4.5 * np.sqrt(2 * 999)


@pytest.mark.parametrize("impl", IMPLS)
def test_one_decision_a_span(impl: str) -> None:
    tokens, mask, ids = batch(300)
    found = corrupt_tokens(
        tokens, mask, per="span", probabilities=(0.5, 0.0, 0.5), seed=0, step=1, sample_ids=ids, impl=impl, **RANGES
    )
    decisions = []
    for row, original, spans in zip(found, tokens, mask.span_ids, strict=True):
        for span in range(spans.max() + 1):
            hidden = (row != original)[spans == span]
            assert hidden.all() or not hidden.any()
            decisions.append(hidden.any())
    assert abs(np.mean(decisions) - 0.5) < 4 * np.sqrt(0.25 / len(decisions))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_implementations_agree_bit_for_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens, mask, ids = batch(int(rng.integers(0, 5)), seed)
    cuts = np.sort(rng.choice(2**31 - 1, 6, replace=False))
    ranges = [(int(a), int(b)) for a, b in cuts.reshape(3, 2)]
    tokens = rng.integers(0, 2**31 - 1, tokens.shape)
    low, middle = np.sort(rng.random(2))
    for per in ("span", "token"):
        results = [
            corrupt_tokens(
                tokens,
                mask,
                mask_id=(1, 2, 3),
                vocabulary_ranges=ranges,
                per=per,
                probabilities=(low, middle - low, 1 - middle),
                seed=seed,
                step=9,
                sample_ids=ids,
                impl=impl,
            )
            for impl in IMPLS
        ]
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_sample_is_corrupted_alike_in_any_batch(impl: str) -> None:
    tokens, mask, ids = batch(6)
    whole = corrupt_tokens(tokens, mask, seed=3, step=1, sample_ids=ids, impl=impl, **RANGES)
    for b in range(6):
        part = SpanMask(mask.mask[b : b + 1], None, None, mask.span_ids[b : b + 1])
        alone = corrupt_tokens(tokens[b : b + 1], part, seed=3, step=1, sample_ids=ids[b : b + 1], impl=impl, **RANGES)
        np.testing.assert_array_equal(alone[0], whole[b])
    other = corrupt_tokens(tokens, mask, seed=3, step=2, sample_ids=ids, impl=impl, **RANGES)
    assert (other != whole).any()


@pytest.mark.parametrize("impl", IMPLS)
def test_special_ids_in_front_of_a_range_count_with_it(impl: str) -> None:
    mask = sample_span_mask(TextSpans(1.0), [4], seed=0, step=0, sample_ids=[0])
    tokens = torch.tensor([[0, 999, 1000, 1600]], dtype=torch.int32)
    found = corrupt_tokens(
        tokens, mask, probabilities=(1.0, 0.0, 0.0), seed=0, step=0, sample_ids=[0], impl=impl, **RANGES
    )
    assert found.dtype == torch.int32 and found.tolist() == [[TEXT_MASK, TEXT_MASK, IMAGE_MASK, IMAGE_MASK]]
    drawn = corrupt_tokens(
        tokens, mask, probabilities=(0.0, 1.0, 0.0), per="token", seed=0, step=0, sample_ids=[0], impl=impl, **RANGES
    )
    assert TEXT[0] <= int(drawn[0, 0]) < TEXT[1] and IMAGE[0] <= int(drawn[0, 3]) < IMAGE[1]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"token_ids": torch.zeros(2, 4)}, "token_ids"),
        ({"token_ids": [[1, 2]]}, "token_ids"),
        ({"token_ids": torch.zeros(1, 5, dtype=torch.int64)}, "span_mask"),
        ({"sample_ids": [1, 2]}, "sample_ids"),
        ({"per": "word"}, "per"),
        ({"vocabulary_ranges": []}, "vocabulary_ranges"),
        ({"vocabulary_ranges": [(5, 5)]}, "vocabulary_ranges"),
        ({"vocabulary_ranges": [(5, 9), (8, 12)]}, "vocabulary_ranges"),
        ({"mask_id": (1, 2, 3)}, "mask_id"),
        ({"probabilities": (0.5, 0.5, 0.5)}, "probabilities"),
        ({"probabilities": (1.5, -0.5, 0.0)}, "probabilities"),
        ({"step": -1}, "step"),
    ],
)
def test_bad_calls_are_named(change: dict[str, Any], names: str) -> None:
    mask = sample_span_mask(TextSpans(0.5), [4], seed=0, step=0, sample_ids=[0])
    arguments: dict[str, Any] = {
        "token_ids": torch.zeros(1, 4, dtype=torch.int64),
        "span_mask": mask,
        "mask_id": 1,
        "vocabulary_ranges": [(0, 9)],
        "seed": 0,
        "step": 0,
        "sample_ids": [0],
    }
    with pytest.raises(InputError, match=names):
        corrupt_tokens(**(arguments | change))
