"""Short texts are masked too: at least ``minimum`` positions where the ratio alone would round to none."""

from __future__ import annotations

import numpy as np
import pytest

from gptface.errors import InputError
from gptface.ops import Multimodal, TextSpans, implementations, sample_span_mask

IMPLS = [found.name for found in implementations("sample_span_mask") if found.available and found.name != "cuda"]


@pytest.mark.parametrize("impl", IMPLS)
def test_texts_of_up_to_three_pieces_are_masked(impl: str) -> None:
    """0.15 of 1, 2 and 3 rounds to none, of 4 to 9 to one, of 10 to two (ties to even: 1.5 to 2)."""
    lengths = np.arange(11)
    keywords = {"seed": 3, "step": 0, "sample_ids": np.arange(11), "impl": impl}
    found = sample_span_mask(TextSpans(0.15), lengths, **keywords)
    assert found.mask.sum(1).tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]
    rounded = sample_span_mask(TextSpans(0.15, minimum=0), lengths, **keywords)
    assert rounded.mask.sum(1).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2]
    np.testing.assert_array_equal(found.span_ids[4:], rounded.span_ids[4:])  # the draws are those of before
    many = sample_span_mask(TextSpans(0.15, minimum=4), lengths, **keywords)
    assert many.mask.sum(1).tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("impl", IMPLS)
def test_the_one_position_is_any_of_them_alike(impl: str) -> None:
    samples = 6000
    ids = np.arange(samples)
    mask = sample_span_mask(TextSpans(0.15), np.full(samples, 3), seed=1, step=0, sample_ids=ids, impl=impl).mask
    counts = mask.sum(0)
    assert counts.sum() == samples
    # Chi squared of three equally likely places: above 13.8 once in a thousand.
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 13.8


@pytest.mark.parametrize("impl", IMPLS)
def test_words_and_the_text_of_joint_sequences_too(impl: str) -> None:
    words = np.array([[0, 0, 0, 1, 1, 2]])
    spec = TextSpans(0.1, whole_words=True)
    keywords = {"seed": 1, "step": 0, "sample_ids": np.array([4]), "impl": impl}
    mask = sample_span_mask(spec, np.array([6]), word_ids=words, **keywords).mask[0]
    assert sorted(set(words[0][mask])) in ([0], [1], [2]) and mask.sum() == (words[0] == words[0][mask][0]).sum()
    joint = sample_span_mask(Multimodal(TextSpans(0.1), None), np.array([[0, 1, 1, 0, 2]], np.int8), **keywords)
    assert joint.mask[0, [1, 2]].sum() == 1 and joint.mask.sum() == 1
    nothing = sample_span_mask(TextSpans(0.1), np.zeros((1, 6), bool), **keywords)
    assert not nothing.mask.any() and nothing.indices.size == 0


@pytest.mark.parametrize("ratio", [0.0, (0.0, 0.0)])
def test_a_ratio_of_zero_masks_nothing(ratio: object) -> None:
    spec = TextSpans(ratio, minimum=5)  # type: ignore[arg-type]
    assert not sample_span_mask(spec, [4, 40], seed=0, step=0, sample_ids=[0, 1]).mask.any()


def test_a_minimum_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match=r"TextSpans\.minimum is -1; allowed: a whole number from 0"):
        TextSpans(minimum=-1)
    assert TextSpans(minimum=np.int32(2)) == TextSpans(minimum=2)  # type: ignore[arg-type]
