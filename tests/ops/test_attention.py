"""Masked attention: outputs and all gradients against a float64 oracle that knows nothing of intervals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.ops import IntervalMask, implementations, masked_attention
from gptface.ops.attention import choice as attention_choice
from gptface.ops.attention import explain
from gptface.ops.attention import library as attention_library
from gptface.ops.native import cpu_kernel_missing
from tests.helpers.numerics import RMSE_LIMIT, assert_matches_oracle
from tests.ops.attention_cases import (
    GRADIENTS,
    assert_kernel_matches_oracle,
    dense_attention,
    dense_with_gradients,
    draw,
    random_mask,
    with_gradients,
)

needs_cpu_kernel = pytest.mark.skipif(cpu_kernel_missing("masked_attention") is not None, reason="no native kernel")
IMPLEMENTATIONS = ["reference", "sdpa", pytest.param("cpu", marks=needs_cpu_kernel)]


def check(inputs: tuple[torch.Tensor, ...], mask: IntervalMask | None, impl: str, scale: float | None = None) -> None:
    result = with_gradients(*inputs, mask, impl=impl, scale=scale)
    if impl == "sdpa":
        assert_right_problem_for_torch(result, inputs, mask, scale)
        return
    if impl == "cpu":
        assert_kernel_matches_oracle(impl, result, inputs, mask, scale)
        return
    oracle = dense_with_gradients(*inputs, mask, torch.float64, scale)
    same_dtype = dense_with_gradients(*inputs, mask, inputs[0].dtype, scale)
    for name in ("out", *GRADIENTS):
        assert result[name].dtype == inputs[0].dtype
        assert_matches_oracle(f"{impl} {name}", result[name], same_dtype[name], oracle[name])


def assert_right_problem_for_torch(
    result: dict[str, torch.Tensor], inputs: tuple[torch.Tensor, ...], mask: IntervalMask | None, scale: float | None
) -> None:
    """For the last digits of its kernel torch answers. What is ours, mask and layout, shows in the RMSE.

    Relative to the result, or to the terms that cancelled in it, which are of size 1.
    """
    oracle = dense_with_gradients(*inputs, mask, torch.float64, scale)
    for name in ("out", *GRADIENTS):
        assert result[name].dtype == inputs[0].dtype
        error = float((result[name].double() - oracle[name]).norm())
        size = max(float(oracle[name].norm()), oracle[name].numel() ** 0.5)
        assert error <= RMSE_LIMIT[inputs[0].dtype] * size, name


MASKS = {
    "none": lambda batch, queries, keys: None,
    "full": lambda batch, queries, keys: IntervalMask.full(queries, keys),
    "causal": lambda batch, queries, keys: IntervalMask.causal(queries, keys),
    "one interval": lambda batch, queries, keys: random_mask(batch, queries, keys, 1, seed=queries),
    "two intervals": lambda batch, queries, keys: random_mask(batch, queries, keys, 2, seed=queries),
    "one pattern for all": lambda batch, queries, keys: random_mask(1, queries, keys, 2, seed=queries),
    "nobody sees anything": lambda batch, queries, keys: IntervalMask.padding(
        torch.zeros(batch, dtype=torch.int64), keys, num_queries=queries
    ),
}


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("batch", "queries", "keys", "heads", "key_heads", "width"),
    [
        (2, 37, 37, 2, 2, 16),
        (2, 17, 41, 6, 2, 24),  # grouped heads, fewer queries than keys, a width that is not a power of two
        (1, 41, 17, 4, 1, 64),  # one key head for all, more queries than keys
        (3, 1, 1, 2, 2, 32),
        (2, 1, 23, 3, 3, 16),  # decoding
        (1, 131, 131, 1, 1, 80),  # beyond one block of the SDPA kernels
    ],
)
def test_matches_the_oracle(
    impl: str, mask: str, batch: int, queries: int, keys: int, heads: int, key_heads: int, width: int
) -> None:
    check(draw(batch, queries, keys, heads, key_heads, width), MASKS[mask](batch, queries, keys), impl)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mask", ["causal", "one interval", "two intervals"])
def test_half_precision(impl: str, dtype: torch.dtype, mask: str) -> None:
    check(draw(2, 61, 61, 4, 2, 64, dtype), MASKS[mask](2, 61, 61), impl)


@pytest.mark.parametrize("impl", ["reference", pytest.param("cpu", marks=needs_cpu_kernel)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_common_offset_of_keys_and_values(impl: str, dtype: torch.dtype) -> None:
    inputs = draw(1, 29, 29, 2, 2, 32, dtype, offset=8.0)
    mask = random_mask(1, 29, 29, 1, seed=5)
    result = with_gradients(*inputs, mask, impl=impl)
    # Gradients cancel: no error relative to what is left of them.
    assert_kernel_matches_oracle(impl, result, inputs, mask, cancelling=True)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 23),
    st.integers(1, 23),
    st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)]),
    st.integers(1, 2),
    st.integers(0, 2**31),
    st.sampled_from(["reference", "sdpa"] + ["cpu"] * (cpu_kernel_missing("masked_attention") is None)),
)
def test_random_masks(
    batch: int, queries: int, keys: int, heads: tuple[int, int], k: int, seed: int, impl: str
) -> None:
    inputs = draw(batch, queries, keys, *heads, 16, seed=seed)
    mask = random_mask(batch, queries, keys, k, seed)
    result = with_gradients(*inputs, mask, impl=impl)
    if impl == "sdpa":
        assert_right_problem_for_torch(result, inputs, mask, None)
    else:  # where every row sees one key or none, all gradients but the value's are differences that cancel
        assert_kernel_matches_oracle(impl, result, inputs, mask, cancelling=True)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_scale(impl: str, scale: float) -> None:
    check(draw(1, 11, 11, 2, 2, 16), IntervalMask.causal(11), impl, scale=scale)


@pytest.mark.parametrize("scale", [0.0, -0.5])
@pytest.mark.parametrize("mask", ["causal", "two intervals"])
def test_a_scale_that_is_not_positive_is_not_given_to_sdpa_which_makes_nan_of_it(mask: str, scale: float) -> None:
    check(draw(1, 11, 11, 2, 2, 16), MASKS[mask](1, 11, 11), "auto", scale=scale)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_odd_intervals_keep_their_meaning(impl: str) -> None:
    """Upside down, out of range, overlapping: never a wrong result."""
    rows = [[[5, 2], [0, 3]], [[-4, 2], [1, 99]], [[7, 40], [-9, -3]], [[3, 6], [2, 5]], [[90, 99], [-5, 0]]]
    mask = IntervalMask(torch.tensor([rows], dtype=torch.int32), 7)
    check(draw(2, 5, 7, 2, 2, 16), mask, impl)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_rows_that_see_nothing_get_zeros_and_give_zeros(impl: str) -> None:
    mask = IntervalMask.padding(torch.tensor([0, 5]), 9)
    query, key, value, grad = draw(2, 9, 9, 2, 2, 16)
    result = with_gradients(query, key, value, grad, mask, impl=impl)
    for name in ("out", *GRADIENTS):
        assert (result[name][0] == 0).all() and (result[name][1, 5:] == 0).all(), name
        assert (result[name][1, :5] != 0).any(), name


def test_lse_and_its_gradient() -> None:
    inputs = draw(2, 13, 17, 4, 2, 16, torch.float64)
    mask = random_mask(2, 13, 17, 2, seed=3)
    seen = mask.to_dense().any(-1).unsqueeze(1)
    weight = torch.randn(2, 4, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for compute in (
        lambda q, k, v: masked_attention(q, k, v, mask, return_lse=True),
        lambda q, k, v: dense_attention(q, k, v, mask.to_dense(), 0.25),
    ):
        leaves = [tensor.detach().requires_grad_() for tensor in inputs[:3]]
        out, lse = compute(*leaves)
        assert ((lse == -torch.inf) == ~seen.expand_as(lse)).all()
        loss = (out * inputs[3]).sum() + (torch.where(seen, lse, 0.0) * weight).sum()
        gradients.append((lse.detach(), torch.autograd.grad(loss, leaves)))
    (lse, grads), (expected_lse, expected) = gradients
    torch.testing.assert_close(lse, expected_lse, rtol=1e-12, atol=1e-12)
    for got, want in zip(grads, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_gradient_of_the_lse_alone() -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 1, 16, torch.float64)
    query.requires_grad_()
    key.requires_grad_()
    value.requires_grad_()
    _, lse = masked_attention(query, key, value, IntervalMask.causal(5), return_lse=True)
    lse.sum().backward()
    _, expected = dense_attention(query, key, value, IntervalMask.causal(5).to_dense(), 0.25)
    got, query.grad = query.grad, None
    expected.sum().backward()
    torch.testing.assert_close(got, query.grad, rtol=1e-10, atol=1e-12)
    assert (value.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lse_is_float32_whatever_the_inputs(dtype: torch.dtype) -> None:
    query, key, value, _ = draw(2, 9, 9, 2, 2, 32, dtype)
    mask = random_mask(2, 9, 9, 1, seed=1)
    out, lse = masked_attention(query, key, value, mask, return_lse=True)
    _, oracle = dense_attention(query.double(), key.double(), value.double(), mask.to_dense(), 32**-0.5)
    assert out.dtype == dtype and lse.dtype == torch.float32
    seen = oracle > -torch.inf
    assert float((lse.double() - oracle)[seen].norm() / oracle[seen].norm()) <= RMSE_LIMIT[torch.float32]
    assert (lse[~seen] == -torch.inf).all()


@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
@pytest.mark.parametrize("k", [1, 2])
def test_gradcheck(dropout_p: float, k: int) -> None:
    query, key, value, _ = draw(2, 4, 5, 4, 2, 16, torch.float64)
    mask = random_mask(2, 4, 5, k, seed=7)
    seen = mask.to_dense().any(-1).unsqueeze(1)

    def function(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out, lse = masked_attention(query, key, value, mask, dropout_p=dropout_p, seed=11, return_lse=True)
        return out, torch.where(seen, lse, 0.0)

    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_any_strides(impl: str) -> None:
    batch, queries, heads, width = 2, 13, 4, 16
    packed = torch.randn(batch, queries, 3 * heads * width, generator=torch.Generator().manual_seed(0))
    query, key, value = packed.view(batch, queries, 3, heads, width).unbind(2)  # one projection
    key = key.transpose(1, 2).contiguous().transpose(1, 2)  # heads before positions
    value = value.repeat_interleave(2, dim=-1)[..., ::2]  # the last dimension strided too
    query = query[:1].expand(batch, -1, -1, -1)  # stride 0
    assert not any(tensor.is_contiguous() for tensor in (query, key, value))
    grad = torch.randn(batch, heads, queries, width).transpose(1, 2)
    check((query, key, value, grad), random_mask(batch, queries, queries, 2, seed=2), impl)


@pytest.mark.parametrize("shape", [(0, 5, 5), (2, 0, 5), (2, 5, 0), (0, 0, 0)])
@pytest.mark.parametrize("masked", [False, True])
def test_empty_sizes(shape: tuple[int, int, int], masked: bool) -> None:
    batch, queries, keys = shape
    query, key, value, grad = draw(batch, queries, keys, 2, 1, 16)
    mask = IntervalMask.full(queries, keys) if masked else None
    result = with_gradients(query, key, value, grad, mask)
    assert result["out"].shape == (batch, queries, 2, 16) and (result["out"] == 0).all()
    assert result["grad_key"].shape == key.shape and (result["grad_key"] == 0).all()
    _, lse = masked_attention(query, key, value, mask, return_lse=True)
    assert lse.shape == (batch, 2, queries) and (lse == -torch.inf).all()


def test_same_call_same_bits() -> None:
    inputs = draw(2, 33, 33, 4, 2, 32)
    mask = random_mask(2, 33, 33, 2, seed=1)
    for options in (
        {"impl": "sdpa"},
        {"impl": "reference"},
        {},
        {"dropout_p": 0.3, "seed": 5},
        {"deterministic": True},
    ):
        first, second = (with_gradients(*inputs, mask, **options) for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first), options


def test_second_order_is_a_clear_error() -> None:
    leaves = [tensor.requires_grad_() for tensor in draw(1, 5, 5, 2, 2, 16)[:3]]
    out = masked_attention(*leaves, IntervalMask.causal(5), impl="reference")
    (grad_query,) = torch.autograd.grad(out.square().sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="masked_attention can be differentiated once"):
        grad_query.sum().backward()


def test_autocast_takes_its_dtype_as_torch_does() -> None:
    query, key, value, _ = draw(1, 7, 7, 2, 2, 16)
    mask = random_mask(1, 7, 7, 1, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        out = masked_attention(query, key.bfloat16(), value, mask)
        reference = masked_attention(query, key, value, mask, impl="reference")
        assert masked_attention(*(t.double() for t in (query, key, value)), mask).dtype == torch.float64
    assert out.dtype == reference.dtype == torch.bfloat16
    torch.testing.assert_close(out, reference, rtol=2e-2, atol=2e-2)


def test_one_dense_form_for_all_layers() -> None:
    query, key, value, _ = draw(2, 9, 9, 2, 2, 16)
    mask = random_mask(2, 9, 9, 1, seed=0)
    masked_attention(query, key, value, mask, impl="sdpa")
    dense = mask.dense()[0]
    masked_attention(query, key, value, mask, impl="sdpa")
    assert mask.dense()[0] is dense


# --- which implementation ---------------------------------------------------------------------------------------------


WITHOUT_KERNELS = [
    ({}, torch.float32, "sdpa", "fastest"),
    ({"return_lse": True}, torch.float32, "reference", "log-sum-exp"),
    ({"dropout_p": 0.1, "seed": 1}, torch.bfloat16, "reference", "seed"),
    ({"dropout_p": 0.0, "seed": 1}, torch.bfloat16, "sdpa", "fastest"),
    ({"deterministic": True}, torch.float32, "sdpa", "fastest"),
]


@pytest.mark.parametrize(("options", "dtype", "chosen", "why"), WITHOUT_KERNELS)
def test_explain_without_kernels(
    options: dict[str, object], dtype: torch.dtype, chosen: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_choice, "_cpu_missing", lambda: "it was not built")
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16, dtype)
    choice = explain(query, key, value, IntervalMask.causal(5), **options)
    assert choice.implementation == chosen
    assert why in " ".join([choice.reason, *(reason for _, reason in choice.unsupported)])
    assert ("cpu", "it was not built") in choice.unsupported
    masked_attention(query, key, value, IntervalMask.causal(5), **options)


@needs_cpu_kernel
@pytest.mark.parametrize(
    ("options", "dtype", "chosen", "why"),
    [
        ({}, torch.float32, "cpu", "fastest"),
        ({"return_lse": True, "dropout_p": 0.1, "seed": 1}, torch.bfloat16, "cpu", "fastest"),
        ({}, torch.float64, "reference", "float64"),
        ({"impl": "reference"}, torch.float32, "reference", "by name"),
        ({"impl": "sdpa"}, torch.float32, "sdpa", "by name"),
    ],
)
def test_explain(options: dict[str, object], dtype: torch.dtype, chosen: str, why: str) -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16, dtype)
    choice = explain(query, key, value, IntervalMask.causal(5), **options)
    assert choice.implementation == chosen
    assert why in " ".join([choice.reason, *(reason for _, reason in choice.unsupported)])
    masked_attention(query, key, value, IntervalMask.causal(5), **options)


@needs_cpu_kernel
def test_explain_prints_what_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_choice, "_cpu_class_name", lambda: "other")
    query, key, value, _ = draw(1, 15, 15, 2, 2, 16)
    mask = IntervalMask.sliding_window(15, 2)
    lines = str(explain(query, key, value, mask, return_lse=True)).split("\n")
    assert lines[0].startswith("cpu, not measured on this machine: it skips what the mask hides")
    assert lines[1].startswith("    not sdpa (it does not return the log-sum-exp (return_lse=True))")
    assert len(lines) == 2
    assert str(attention_choice.Choice("sdpa", "asked for by name", ())) == "sdpa, asked for by name"


def test_explain_raises_what_the_call_raises() -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16)
    with pytest.raises(ValueError, match="mask"):
        explain(query, key, value, IntervalMask.causal(6))


def test_a_named_implementation_never_falls_back() -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16)
    with pytest.raises(RuntimeError, match=r"impl='sdpa' cannot run this call.*log-sum-exp"):
        masked_attention(query, key, value, return_lse=True, impl="sdpa")
    with pytest.raises(RuntimeError, match="dropout is not a function of the seed"):
        masked_attention(query, key, value, dropout_p=0.5, seed=1, impl="sdpa")
    with pytest.raises(ValueError, match="impl='magic' is not known"):
        masked_attention(query, key, value, impl="magic")


def test_implementations_are_listed() -> None:
    listed = {found.name: found for found in implementations("masked_attention")}
    assert {"reference", "sdpa"} <= set(listed)
    assert all(listed[name].available and listed[name].description for name in ("reference", "sdpa"))


def test_both_operators_compute_the_definition() -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16)
    arguments = (query, key, value, IntervalMask.causal(5).intervals, None, 0.25, 0.0, False)
    results = [getattr(torch.ops.gptface, name)(*arguments)[0] for name in attention_library.NAMES]
    torch.testing.assert_close(results[0], results[1])


# --- bad input --------------------------------------------------------------------------------------------------------


def q(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype, device=device)


GOOD = (q(2, 5, 4, 16), q(2, 7, 2, 16), q(2, 7, 2, 16))


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        ((q(2, 5, 16), *GOOD[1:]), {}, r"query must have four dimensions.*\(2, 5, 16\)"),
        ((GOOD[0], q(2, 7, 16), GOOD[2]), {}, r"key must have four dimensions.*\(2, 7, 16\)"),
        (([1.0], *GOOD[1:]), {}, "query must be a tensor, got list"),
        ((GOOD[0], None, GOOD[2]), {}, "key must be a tensor, got NoneType"),
        ((GOOD[0].int(), *GOOD[1:]), {}, r"query must be float32.*torch.int32.*\(2, 5, 4, 16\)"),
        (
            (GOOD[0], GOOD[1].bfloat16(), GOOD[2]),
            {},
            r"key must have the dtype.*\(2, 7, 2, 16\).*\(2, 5, 4, 16\)",
        ),
        ((GOOD[0], GOOD[1], GOOD[2].half()), {}, r"value must have the dtype.*\(2, 7, 2, 16\).*\(2, 5, 4, 16\)"),
        ((GOOD[0], GOOD[1], q(2, 7, 2, 16, device="meta")), {}, "value must be on the device of query.*meta.*cpu"),
        ((GOOD[0], q(3, 7, 2, 16), GOOD[2]), {}, r"key must have the batch size.*\(3, 7, 2, 16\).*\(2, 5, 4, 16\)"),
        ((GOOD[0], q(2, 7, 2, 24), GOOD[2]), {}, r"key must have the head dimension.*\(2, 7, 2, 24\).*\(2, 5, 4, 16\)"),
        ((GOOD[0], GOOD[1], q(2, 6, 2, 16)), {}, r"value must have the shape of key.*\(2, 6, 2, 16\).*\(2, 7, 2, 16\)"),
        ((GOOD[0], q(2, 7, 3, 16), q(2, 7, 3, 16)), {}, r"multiple of key's heads.*\(2, 5, 4, 16\).*\(2, 7, 3, 16\)"),
        ((GOOD[0], q(2, 7, 0, 16), q(2, 7, 0, 16)), {}, "multiple of key's heads"),
        ((q(2, 5, 4, 8), q(2, 7, 2, 8), q(2, 7, 2, 8)), {}, "head dimension must be a multiple of 8 from 16 to 256"),
        ((q(2, 5, 4, 20), q(2, 7, 2, 20), q(2, 7, 2, 20)), {}, "head dimension must be"),
        ((q(2, 5, 4, 264), q(2, 7, 2, 264), q(2, 7, 2, 264)), {}, "head dimension must be"),
        (GOOD, {"mask": torch.ones(5, 7).bool()}, "mask must be an IntervalMask.*from_dense"),
        (GOOD, {"mask": IntervalMask.full(6, 7)}, r"as many rows as query: mask \(1, 6, 7\).*query \(2, 5, 4, 16\)"),
        (GOOD, {"mask": IntervalMask.full(5, 8)}, r"as many columns as key.*\(1, 5, 8\).*key \(2, 7, 2, 16\)"),
        (GOOD, {"mask": random_mask(3, 5, 7, 1, 0)}, r"batch size of query, or 1.*\(3, 5, 7\).*\(2, 5, 4, 16\)"),
        (GOOD, {"mask": IntervalMask.full(5, 7, device="meta")}, "mask must be on the device of query.*meta"),
        (GOOD, {"dropout_p": 0.1}, "dropout_p = 0.1 needs a seed"),
        (GOOD, {"dropout_p": 1.0, "seed": 1}, "dropout_p must be at least 0 and below 1, got 1.0"),
        (GOOD, {"dropout_p": -0.1, "seed": 1}, "dropout_p must be"),
        (GOOD, {"dropout_p": float("nan"), "seed": 1}, "dropout_p must be"),
        (GOOD, {"dropout_p": 0.1, "seed": -1}, "seed must lie in"),
        (GOOD, {"dropout_p": 0.1, "seed": 2**63}, "seed must lie in"),
        (GOOD, {"dropout_p": 0.1, "seed": 1.5}, "seed must be an integer.*float"),
        (GOOD, {"dropout_p": 0.1, "seed": torch.tensor(1, dtype=torch.int32)}, "seed must be an integer.*int32"),
        (GOOD, {"dropout_p": 0.1, "seed": torch.tensor([1, 2])}, r"seed must be an integer.*\(2,\)"),
        (
            GOOD,
            {"dropout_p": 0.1, "seed": torch.zeros((), dtype=torch.int64, device="meta")},
            "seed must be on the dev",
        ),
        (GOOD, {"scale": float("inf")}, "scale must be finite"),
    ],
)
def test_bad_input_names_the_argument_and_both_shapes(tensors, options, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        masked_attention(*tensors, **options)
