"""Attention kernels in Triton's interpreter, through the public function, against the float64 oracle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gptface.kernels.attention_configurations import KERNELS, Configuration, forced
from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention.reference import dropout_keep
from tests.helpers.numerics import RMSE_LIMIT, rmse_ratio
from tests.ops.attention_cases import (
    GRADIENTS,
    assert_kernel_matches_oracle,
    dense_attention,
    draw,
    random_mask,
    with_gradients,
)


def tiles(block_m: int, block_n: int) -> dict[str, Configuration]:
    return dict.fromkeys(KERNELS, Configuration(block_m, block_n, 4, 1))


@pytest.fixture(autouse=True)
def small_tiles() -> Iterator[None]:
    """So that few rows make several tiles."""
    with forced(tiles(32, 32)):
        yield


def check(
    inputs: tuple[Tensor, ...], mask: IntervalMask | None, scale: float | None = None, p: float = 0.0, seed: int = 0
) -> dict[str, Tensor]:
    query, key = inputs[:2]
    factor = None
    options: dict[str, object] = {}
    if p:
        keep = dropout_keep(torch.tensor(seed), p, query.shape[0], query.shape[2], query.shape[1], key.shape[1])
        factor, options = keep.double() / (1 - p), {"dropout_p": p, "seed": seed}
    result = with_gradients(*inputs, mask, impl="triton", scale=scale, **options)
    # In float32 these kernels keep a row's largest score and sum of powers: no log-sum-exp is rounded on the way.
    assert_kernel_matches_oracle("triton", result, inputs, mask, scale, factor, weights_from="softmax")
    return result


def prefix_mask(batch: int, queries: int, keys: int) -> IntervalMask:
    lengths = torch.tensor([keys - 5 * sample for sample in range(batch)])
    mask = IntervalMask.prefix_lm(lengths // 3, lengths, keys)
    return IntervalMask(mask.intervals[:, keys - queries :].contiguous() if queries <= keys else mask.intervals, keys)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize(
    ("batch", "queries", "keys", "heads", "key_heads", "width", "dtype", "mask"),
    [
        (2, 37, 37, 2, 2, 16, torch.float32, "none"),
        (1, 75, 75, 2, 1, 16, torch.float32, "causal"),
        (2, 67, 67, 2, 2, 16, torch.float32, "prefix"),
        (2, 41, 61, 6, 2, 24, torch.float32, "random 2"),  # groups of three, a width that is no power of two
        (1, 61, 41, 2, 1, 32, torch.float32, "random 1"),
        (3, 1, 23, 4, 2, 16, torch.float32, "random 2"),  # decoding
        (1, 1, 1, 1, 1, 16, torch.float32, "causal"),
        (1, 31, 31, 1, 1, 256, torch.float32, "prefix"),
        (1, 29, 37, 2, 2, 16, torch.float32, "nothing"),
        (1, 130, 130, 1, 1, 16, torch.bfloat16, "prefix"),
        (1, 67, 67, 2, 2, 64, torch.bfloat16, "random 2"),
        (1, 67, 67, 2, 1, 32, torch.float16, "causal"),
    ],
)
def test_matches_the_oracle(
    batch: int, queries: int, keys: int, heads: int, key_heads: int, width: int, dtype: torch.dtype, mask: str
) -> None:
    masks = {
        "none": lambda: None,
        "causal": lambda: IntervalMask.causal(queries),
        "prefix": lambda: prefix_mask(batch, queries, keys),
        "random 1": lambda: random_mask(batch, queries, keys, 1, seed=queries),
        "random 2": lambda: random_mask(1 if queries == 1 else batch, queries, keys, 2, seed=queries),
        "nothing": lambda: IntervalMask.padding(torch.zeros(batch, dtype=torch.int64), keys, num_queries=queries),
    }
    check(draw(batch, queries, keys, heads, key_heads, width, dtype), masks[mask]())


@pytest.mark.parametrize(("block_m", "block_n"), [(16, 64), (128, 16), (64, 128)])
def test_any_tile_shape(block_m: int, block_n: int) -> None:
    """Tiles smaller and larger than the 64 rows and keys of a bounds block, and none a divisor of the sizes."""
    with forced(tiles(block_m, block_n)):
        check(draw(1, 139, 171, 2, 2, 16), prefix_mask(1, 139, 171))


@pytest.mark.parametrize("heads", [(3, 1), (4, 2)])
def test_packed_rows_across_bounds_blocks(heads: tuple[int, int]) -> None:
    """A tile of 64 packed rows of three heads ends within a query, and may lie in two bounds blocks."""
    with forced(tiles(64, 32)):
        check(draw(1, 131, 131, *heads, 16), IntervalMask.sliding_window(131, 20, 10, global_tokens=3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [0, 2])
def test_dropout_takes_the_bits_of_the_definition(dtype: torch.dtype, k: int) -> None:
    mask = random_mask(2, 37, 71, 2, seed=4) if k else None
    check(draw(2, 37, 71, 4, 2, 16, dtype), mask, p=0.3, seed=2**40 + 7)


def test_dropout_does_not_depend_on_tile_shapes() -> None:
    """One-hot values show every weight: what is zero is the same whatever the tiles."""
    query, key, _, _ = draw(1, 40, 64, 2, 2, 64)
    value = torch.eye(64).view(1, 64, 1, 64).expand(1, 64, 2, 64).contiguous()
    kept = []
    for shape in ((16, 16), (64, 32), (32, 128)):
        with forced(tiles(*shape)):
            out = masked_attention(query, key, value, dropout_p=0.4, seed=9, impl="triton")
        kept.append(out.transpose(1, 2) != 0)
    expected = dropout_keep(torch.tensor(9), 0.4, 1, 2, 40, 64)
    assert all(torch.equal(found, expected) for found in kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.5, 0.0, -0.5])
def test_scale_of_any_sign(scale: float, dtype: torch.dtype) -> None:
    """A negative one came out NaN in bfloat16."""
    check(draw(1, 37, 37, 2, 2, 16, dtype), random_mask(1, 37, 37, 2, seed=1), scale=scale)


def test_lse_and_its_gradient() -> None:
    query, key, value, grad = draw(2, 37, 41, 4, 2, 16)
    mask = random_mask(2, 37, 41, 2, seed=3)
    seen = mask.to_dense().any(-1).unsqueeze(1)
    weight = torch.randn(2, 4, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in (query, key, value)]
        if dtype == torch.float32:
            out, lse = masked_attention(*leaves, mask, return_lse=True, impl="triton")
            assert lse.dtype == torch.float32 and torch.equal(lse == -torch.inf, (~seen).expand(lse.shape))
        else:
            out, lse = dense_attention(*leaves, mask.to_dense(), 0.25)
        loss = (out * grad.to(dtype)).sum() + (torch.where(seen, lse, 0.0) * weight.to(dtype)).sum()
        results.append([torch.where(seen, lse, 0.0).detach(), *torch.autograd.grad(loss, leaves)])
    for got, want in zip(*results, strict=True):
        assert rmse_ratio(got, want) <= RMSE_LIMIT[torch.float32]


def test_only_the_log_sum_exp_is_used() -> None:
    query, key, value, _ = draw(1, 9, 9, 2, 2, 16)
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    _, lse = masked_attention(*leaves, IntervalMask.causal(9), return_lse=True, impl="triton")
    gradients = torch.autograd.grad(lse.sum(), leaves)
    assert (gradients[2] == 0).all() and torch.isfinite(gradients[0]).all()


def test_rows_that_see_nothing_get_zeros_and_give_zeros() -> None:
    mask = IntervalMask.padding(torch.tensor([0, 35]), 40)
    result = with_gradients(*draw(2, 40, 40, 2, 2, 16), mask, impl="triton")
    for name in ("out", *GRADIENTS):
        assert (result[name][0] == 0).all() and (result[name][1, 35:] == 0).all(), name
        assert (result[name][1, :35] != 0).any(), name


def test_odd_intervals_keep_their_meaning() -> None:
    rows = [[[5, 2], [0, 3]], [[-4, 2], [1, 99]], [[7, 40], [-9, -3]], [[3, 6], [2, 5]], [[90, 99], [-5, 0]]]
    check(draw(2, 5, 7, 2, 2, 16), IntervalMask(torch.tensor([rows], dtype=torch.int32), 7))
    least, most = -(2**31), 2**31 - 1  # a length that no int32 holds, or that is negative
    rows = [[[least, most]], [[most, least]], [[least, 4]], [[3, most]], [[least, least]]]
    check(draw(2, 5, 7, 2, 2, 16), IntervalMask(torch.tensor([rows], dtype=torch.int32), 7))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_query_stays_in_its_row(bad: float) -> None:
    query, key, value, _ = draw(1, 40, 40, 1, 1, 16)
    clean = masked_attention(query, key, value, IntervalMask.causal(40), impl="triton")
    query[0, 17, 0, 3] = bad
    out = masked_attention(query, key, value, IntervalMask.causal(40), impl="triton")
    others = [row for row in range(40) if row != 17]
    assert torch.equal(out[0, others], clean[0, others])
    assert not torch.isfinite(out[0, 17]).all()


def test_any_strides() -> None:
    packed = torch.randn(2, 37, 3 * 4 * 16, generator=torch.Generator().manual_seed(0))
    query, key, value = packed.view(2, 37, 3, 4, 16).unbind(2)  # one projection
    key = key.transpose(1, 2).contiguous().transpose(1, 2)  # heads before positions
    value = torch.cat([value, value[..., :1]], -1)[..., :16]  # rows of 17: nothing is a multiple of 8
    query = query[:1].expand(2, -1, -1, -1)  # stride 0
    grad = torch.randn(1, 1, 1, 1, generator=torch.Generator().manual_seed(1)).expand(2, 37, 4, 16)
    check((query, key, value, grad), random_mask(2, 37, 37, 2, seed=2))


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((2, 3, 1), (2**31 + 64, 16, 16, 1)),
        ((1, 17, 1), (16, 2**27 + 64, 16, 1)),
        ((1, 3, 2), (16, 16, 2**31 + 64, 1)),
    ],
    ids=["batch", "row", "head"],
)
@pytest.mark.parametrize("place", range(4), ids=["query", "key", "value", "grad"])
def test_addresses_beyond_32_bits(shape: tuple[int, int, int], strides: tuple[int, ...], place: int) -> None:
    """Strides whose products pass 2³¹, forward and backward; memory is only touched where the numbers lie."""
    batch, rows, heads = shape
    inputs, mask = draw(batch, rows, rows, heads, heads, 16, torch.float16), IntervalMask.causal(rows)
    expected = with_gradients(*inputs, mask, impl="triton")
    storage = torch.empty(2**31 + 20000, dtype=torch.float16)
    tensors = list(inputs)
    tensors[place] = storage.as_strided(inputs[place].shape, strides).copy_(inputs[place])
    found = with_gradients(*tensors, mask, impl="triton")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("shape", [(0, 5, 5), (2, 0, 5), (2, 5, 0)])
@pytest.mark.parametrize("masked", [False, True])
def test_empty_sizes(shape: tuple[int, int, int], masked: bool) -> None:
    batch, queries, keys = shape
    inputs = draw(batch, queries, keys, 2, 1, 16)
    mask = IntervalMask.full(queries, keys) & IntervalMask.full(queries, keys) if masked else None
    result = with_gradients(*inputs, mask, impl="triton")
    assert result["out"].shape == (batch, queries, 2, 16) and (result["out"] == 0).all()
    for gradient, leaf in zip(GRADIENTS, inputs[:3], strict=True):
        assert result[gradient].shape == leaf.shape and (result[gradient] == 0).all()


def test_same_call_same_bits() -> None:
    inputs, mask = draw(1, 67, 67, 2, 1, 16, torch.bfloat16), random_mask(1, 67, 67, 2, seed=1)
    first, second = (with_gradients(*inputs, mask, impl="triton", dropout_p=0.3, seed=5) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_common_offset_of_keys_and_values(dtype: torch.dtype) -> None:
    inputs = draw(1, 29, 29, 2, 2, 32, dtype, offset=8.0)
    mask = random_mask(1, 29, 29, 1, seed=5)
    result = with_gradients(*inputs, mask, impl="triton")
    # Gradients cancel: no error relative to what is left of them.
    assert_kernel_matches_oracle("triton", result, inputs, mask, weights_from="softmax", cancelling=True)
