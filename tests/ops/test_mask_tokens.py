"""``mask_tokens``: sampling and corruption in one kernel, the bits of the two calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.diagnosis.span_mask_draws import random_case
from gptface.errors import InputError
from gptface.ops import (
    ImageBlocks,
    Multimodal,
    SpanMask,
    TextSpans,
    corrupt_tokens,
    implementations,
    mask_tokens,
    sample_span_mask,
)

IMPLS = [found.name for found in implementations("mask_tokens") if found.available and found.name != "cuda"]


@pytest.mark.parametrize("impl", IMPLS)
@given(seed=st.integers(0, 2**32 - 1), per=st.sampled_from(["span", "token"]))
@settings(max_examples=60, deadline=None)
def test_the_bits_of_the_two_calls_for_any_specification(impl: str, seed: int, per: str) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(rng)
    apart = sample_span_mask(case.spec, case.layout, impl="reference", **case.keywords)
    tokens = rng.integers(0, 2**20, apart.mask.shape, dtype=np.int32 if rng.random() < 0.5 else np.int64)
    identity = {name: case.keywords[name] for name in ("seed", "step", "sample_ids")}
    corruption: dict[str, Any] = {"mask_id": (3, 4), "vocabulary_ranges": [(5, 2**19), (2**19, 2**20)], "per": per}
    expected = corrupt_tokens(tokens, apart, impl="reference", **corruption, **identity)
    keywords = {name: value for name, value in case.keywords.items() if name != "max_length"}
    found = mask_tokens(tokens, case.spec, case.layout, impl=impl, **corruption, **keywords)
    assert found.token_ids.dtype == tokens.dtype
    np.testing.assert_array_equal(found.token_ids, expected)
    for name, mine, theirs in zip(SpanMask._fields, found.span_mask, apart, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=name)


@pytest.mark.parametrize("impl", IMPLS)
def test_in_a_compiled_step_with_a_step_tensor(impl: str) -> None:
    spec = Multimodal(TextSpans(0.3), ImageBlocks((4, 4)))
    modality = torch.tensor([[0] + [1] * 9 + [2] * 16], dtype=torch.int8).repeat(3, 1)
    tokens, ids = torch.randint(5, 99, modality.shape), torch.arange(3)

    def draw(step: torch.Tensor) -> Any:
        return mask_tokens(
            tokens, spec, modality, mask_id=1, vocabulary_ranges=[(5, 99)], seed=0, step=step, sample_ids=ids, impl=impl
        )

    compiled = torch.compile(draw, backend="aot_eager", fullgraph=True)
    for step in (torch.tensor(2), torch.tensor(3)):
        mine, theirs = compiled(step), draw(step)
        assert torch.equal(mine.token_ids, theirs.token_ids)
        assert torch.equal(mine.span_mask.span_ids, theirs.span_mask.span_ids)
        masked = len(theirs.span_mask.indices)
        assert torch.equal(mine.span_mask.indices[:masked], theirs.span_mask.indices)
        assert (mine.span_mask.indices[masked:] == -1).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_opcheck(impl: str) -> None:
    name = "mask_tokens_reference" if impl == "reference" else "mask_tokens"
    tokens, spec = torch.randint(5, 99, (3, 9)), TextSpans(0.4)
    arguments = (
        tokens, [5, 99, 1], [2**31, 2**32], True, spec.encoded, torch.tensor([9, 4, 0]), None, None, torch.arange(3),
        7, 3, None, 20,
    )  # fmt: skip
    torch.library.opcheck(getattr(torch.ops.gptface, name).default, arguments)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"token_ids": torch.zeros(2, 4)}, "token_ids"),
        ({"lengths_or_eligible": [3, 2]}, "samples"),
        ({"lengths_or_eligible": [5]}, "lengths"),
        ({"lengths_or_eligible": torch.ones(1, 5, dtype=torch.bool)}, r"token_ids has shape \(1, 4\)"),
        ({"spec": ImageBlocks((2, 3)), "lengths_or_eligible": None}, r"\(1, 6\)"),
        ({"spec": "text"}, "mask_tokens: spec"),
        ({"sample_ids": [1, 2]}, "samples"),
        ({"vocabulary_ranges": []}, "vocabulary_ranges"),
        ({"probabilities": (0.5, 0.5, 0.5)}, "probabilities"),
        ({"step": -1}, "step"),
    ],
)
def test_bad_calls_are_named(change: dict[str, Any], names: str) -> None:
    arguments: dict[str, Any] = {
        "token_ids": torch.zeros(1, 4, dtype=torch.int64),
        "spec": TextSpans(0.5),
        "lengths_or_eligible": [4],
        "mask_id": 1,
        "vocabulary_ranges": [(0, 9)],
        "seed": 0,
        "step": 0,
        "sample_ids": [0],
    }
    with pytest.raises(InputError, match=names):
        mask_tokens(**(arguments | change))
