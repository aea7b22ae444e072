"""Queries, keys, values and masks in the layout of another library: named by their shapes, with the way out."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from gptface.errors import InputError
from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention import arguments


def qkv(*shape: int, key_shape: tuple[int, ...] | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    key = torch.zeros(key_shape or shape)
    return torch.zeros(shape), key, key.clone()


@pytest.fixture(autouse=True)
def first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "_warned", [])


@pytest.mark.parametrize(
    ("tensors", "mask"),
    [
        (qkv(2, 4, 30, 16), IntervalMask.causal(30)),
        (qkv(2, 4, 30, 16, key_shape=(2, 4, 60, 16)), IntervalMask.full(30, 60)),
        (qkv(2, 4, 30, 16, key_shape=(2, 4, 50, 16)), None),  # 30 heads that are no multiple of 50
        (qkv(2, 4, 30, 16, key_shape=(2, 2, 30, 16)), IntervalMask.causal(30)),
    ],
    ids=["masked", "cross-attention", "no mask", "grouped heads"],
)
def test_heads_before_rows_are_named(tensors: Any, mask: IntervalMask | None) -> None:
    with pytest.raises(InputError, match=r"\(B, H, S, D\), torch's layout.*query.transpose\(1, 2\)"):
        masked_attention(*tensors, mask)


def test_heads_before_rows_without_a_mask_are_warned_of_once() -> None:
    with pytest.warns(UserWarning, match="fewer rows than heads.*transpose"):
        masked_attention(*qkv(2, 4, 30, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked_attention(*qkv(2, 4, 30, 16))


@pytest.mark.parametrize(
    "tensors",
    [
        qkv(2, 30, 4, 16),
        qkv(2, 1, 8, 16, key_shape=(2, 5, 8, 16)),  # a step of generation
        qkv(2, 6, 8, 16, key_shape=(2, 6, 2, 16)),  # a short text with grouped heads
        qkv(2, 6, 8, 16, key_shape=(2, 40, 8, 16)),  # a few queries to many keys
    ],
    ids=["rows before heads", "one row", "grouped heads", "few queries"],
)
def test_the_right_layout_is_not_warned_of(tensors: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked_attention(*tensors)


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(2, 30).bool(),
        torch.ones(2, 30).long(),
        IntervalMask.from_dense(torch.ones(2, 30).bool()),
    ],
    ids=["bool", "int64", "by from_dense"],
)
def test_a_padding_mask_is_named_as_such(mask: Any) -> None:
    with pytest.raises(InputError, match=r"shape of a padding mask.*IntervalMask.padding\(padding.long\(\)"):
        masked_attention(*qkv(2, 30, 4, 16), mask)


@pytest.mark.parametrize("width", [60, 12, 250])
def test_the_advice_for_an_odd_head_dimension_gives_the_attention_of_torch(width: int) -> None:
    query, key, value = torch.randn(3, 2, 9, 4, width, generator=torch.Generator().manual_seed(0)).unbind(0)
    with pytest.raises(InputError, match="head dimension must be a multiple of 8") as error:
        masked_attention(query, key, value)
    advice = str(error.value)
    spare = max(16, -(-width // 8) * 8) - width
    assert f"pad(x, (0, {spare}))" in advice and f"scale={width} ** -0.5" in advice and f"[..., :{width}]" in advice
    padded = [torch.nn.functional.pad(x, (0, spare)) for x in (query, key, value)]
    got = masked_attention(*padded, scale=width**-0.5)[..., :width]
    want = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (query, key, value)))
    torch.testing.assert_close(got, want.transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_a_head_dimension_that_is_too_large_has_no_advice() -> None:
    with pytest.raises(InputError, match=r"from 16 to 256: query \(2, 9, 4, 264\), key \(2, 9, 4, 264\)$"):
        masked_attention(*qkv(2, 9, 4, 264))
