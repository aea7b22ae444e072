"""Attention of few queries: the kernels that read keys and values as they lie, and the short way to them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.diagnosis.attention_formulas import dense_attention
from gptface.errors import InputError
from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention.step import attend_step
from gptface.ops.native import cpu_instruction_set, cpu_kernel_missing
from tests.helpers.numerics import assert_matches_oracle
from tests.ops.attention_cases import draw, random_mask

pytestmark = pytest.mark.skipif(cpu_kernel_missing("masked_attention") is not None, reason="no native kernel")

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=["portable", "avx2", "avx512", "avx512_bf16"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = cpu_instruction_set()
    try:
        cpu_instruction_set(request.param)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield request.param
    cpu_instruction_set(before)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def check(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask | None) -> None:
    visible = None if mask is None else mask.to_dense()
    scale = query.shape[3] ** -0.5
    oracle, oracle_lse = dense_attention(query.double(), key.double(), value.double(), visible, scale)
    formulas, _ = dense_attention(query, key, value, visible, scale)
    out, lse = masked_attention(query, key, value, mask, impl="cpu", return_lse=True)
    assert_matches_oracle("few queries", out, [formulas], oracle)
    torch.testing.assert_close(lse.double(), oracle_lse, atol=1e-5, rtol=1e-5)
    assert torch.equal(masked_attention(query, key, value, mask, impl="cpu"), out), "the output alone is the same"


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("queries", "heads", "key_heads"), [(1, 2, 2), (1, 8, 2), (3, 6, 2), (8, 4, 1)])
def test_every_instruction_set(
    instruction_set: str, dtype: torch.dtype, queries: int, heads: int, key_heads: int
) -> None:
    query, key, value, _ = draw(2, queries, 531, heads, key_heads, 40, dtype)
    check(query, key, value, random_mask(2, queries, 531, 2, seed=queries))


@pytest.mark.parametrize("width", [16, 24, 32, 48, 56, 64, 80, 96, 120, 136, 248, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_kind_of_width(width: int, dtype: torch.dtype) -> None:
    query, key, value, _ = draw(1, 3, 71, 2, 1, width, dtype)
    check(query, key, value, None)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_problems(data: st.DataObject) -> None:
    queries, keys = data.draw(st.integers(1, 8)), data.draw(st.integers(16, 1200))
    heads, key_heads = data.draw(st.sampled_from([(1, 1), (4, 2), (3, 1), (20, 1)]))
    width, k, seed = 8 * data.draw(st.integers(2, 32)), data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2**31))
    query, key, value, _ = draw(1, queries, keys, heads, key_heads, width, data.draw(st.sampled_from(DTYPES)), seed)
    check(query, key, value, random_mask(1, queries, keys, k, seed) if k else None)


def test_a_cache_in_any_layout_gives_the_same_bits() -> None:
    query, key, value, _ = draw(2, 2, 300, 4, 2, 64)
    want = masked_attention(query, key, value, IntervalMask.causal(2, 300), impl="cpu")
    by_heads = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (query, key, value)]
    longer = [torch.full((2, 512, 2, 72), math.nan) for _ in range(2)]  # a static cache, wider rows, filled in part
    for room, tensor in zip(longer, (key, value), strict=True):
        room[:, 7:307, :, :64] = tensor
    parts = [room[:, 7:307, :, :64] for room in longer]
    for k, v in (by_heads[1:], parts):
        assert torch.equal(masked_attention(by_heads[0], k, v, IntervalMask.causal(2, 300), impl="cpu"), want)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_do_not_show(dtype: torch.dtype) -> None:
    query, key, value, _ = draw(1, 2, 4096, 4, 2, 64, dtype)  # enough for chunks and for threads
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(masked_attention(query, key, value, IntervalMask.causal(2, 4096), impl="cpu", return_lse=True))
    for out, lse in results[1:]:
        assert torch.equal(out, results[0][0])
        assert torch.equal(lse, results[0][1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [1, 2])
def test_a_bad_key_or_value_stays_with_the_rows_that_see_it(dtype: torch.dtype, bad: float, position: int) -> None:
    intervals = torch.tensor([[0, 700], [0, 350], [351, 700], [400, 400]], dtype=torch.int32).view(1, 4, 1, 2)
    mask = IntervalMask(intervals, 700)
    inputs = list(draw(1, 4, 700, 2, 2, 40, dtype)[:3])
    clean = masked_attention(*inputs, mask, impl="cpu")
    inputs[position] = inputs[position].clone()
    inputs[position][0, 350, 1, 5] = bad  # which the first row sees alone
    out = masked_attention(*inputs, mask, impl="cpu")
    reference = masked_attention(*inputs, mask, impl="reference")
    assert torch.equal(out[:, 1:], clean[:, 1:])
    assert torch.equal(out[:, 0, 0], clean[:, 0, 0])
    assert torch.equal(out[:, 0, 1].isfinite(), reference[:, 0, 1].isfinite())
    assert position == 1 or not out[:, 0, 1].isfinite().all()


def test_rows_and_chunks_that_see_nothing() -> None:
    query, key, value, _ = draw(1, 3, 1500, 2, 2, 32)
    intervals = torch.tensor([[5, 5], [1400, 1401], [-7, 2]], dtype=torch.int32).view(1, 3, 1, 2)
    out, lse = masked_attention(query, key, value, IntervalMask(intervals, 1500), impl="cpu", return_lse=True)
    assert torch.equal(out[:, 0], torch.zeros_like(out[:, 0]))
    assert torch.equal(lse[:, :, 0], torch.full_like(lse[:, :, 0], -math.inf))
    torch.testing.assert_close(out[:, 1], value[:, 1400])
    assert lse[:, :, 2].isfinite().all()
    nothing = masked_attention(query, key[:, :0], value[:, :0], impl="cpu")
    assert torch.equal(nothing, torch.zeros_like(nothing))


# --- the short way ----------------------------------------------------------------------------------------------------


def test_a_plain_step_takes_the_short_way_and_gives_the_same_bits() -> None:
    query, key, value, _ = draw(2, 1, 50, 4, 2, 16)
    for mask in (None, IntervalMask.causal(1, 50), random_mask(2, 1, 50, 2, seed=3)):
        step = attend_step(query, key, value, mask, None)
        assert step is not None
        assert torch.equal(step, masked_attention(query, key, value, mask, impl="cpu"))


def test_what_is_no_plain_step_takes_the_usual_way() -> None:
    query, key, value, _ = draw(1, 2, 50, 4, 2, 16)
    mask = IntervalMask.causal(2, 50)
    assert attend_step(query, key, value, mask, 0.25) is not None
    assert attend_step(query.clone().requires_grad_(), key, value, mask, None) is None
    assert attend_step(query.double(), key.double(), value.double(), mask, None) is None
    assert attend_step(query, key, value, mask, math.nan) is None
    assert attend_step(query, key, value, None, None) is None  # perhaps in torch's layout: the usual way says so
    with torch.autocast("cpu", torch.bfloat16):
        assert attend_step(query, key, value, mask, None) is None
        assert masked_attention(query, key, value, mask).dtype == torch.bfloat16
    with torch.no_grad():
        assert attend_step(query.clone().requires_grad_(), key, value, mask, None) is not None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda q, k, v: (q, k, v[:, :-1], None), "value"),
        (lambda q, k, v: (q, k, v.bfloat16(), None), "value"),
        (lambda q, k, v: (q, k[..., :8], v[..., :8], None), "head dimension"),
        (lambda q, k, v: (q[0], k, v, None), "query"),
        (lambda q, k, v: (q, k[:, :, :0], v[:, :, :0], None), "heads"),
        (lambda q, k, v: (q[..., :8], k[..., :8], v[..., :8], None), "head dimension"),
        (lambda q, k, v: (q, k, v, IntervalMask.causal(1, 49)), "mask"),
        (lambda q, k, v: (q, k, v, IntervalMask.causal(2, 50)), "mask"),
        (lambda q, k, v: (q, k, v, random_mask(3, 1, 50, 1, 0)), "mask"),
    ],
)
def test_what_is_wrong_with_a_step_is_said_as_ever(change, named: str) -> None:  # type: ignore[no-untyped-def]
    query, key, value, _ = draw(2, 1, 50, 4, 2, 16)
    with pytest.raises(InputError, match=named):
        masked_attention(*change(query, key, value))


@pytest.mark.parametrize("keys", [1, 2, 50])
def test_the_mask_of_one_query_hides_nothing(keys: int) -> None:
    mask = IntervalMask.causal(1, keys)
    assert mask.kind == "full"
    assert mask.intervals.tolist() == [[[[0, keys]]]]
    assert mask.intervals.dtype == torch.int32
