"""Ring 4: the Triton attention kernels on a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from gptface.kernels.attention_configurations import KERNELS, Configuration, forced
from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention.reference import dropout_keep
from tests.helpers.numerics import RMSE_LIMIT, rmse_ratio
from tests.ops.attention_cases import assert_kernel_matches_oracle, draw, random_mask, with_gradients
from tests.ops.attention_containment import (
    KINDS,
    assert_contained,
    assert_padding_may_hold_anything,
    containment_case,
)

pytestmark = pytest.mark.gpu


@contextmanager
def no_synchronisation() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_device(*arguments: object, **options: object) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.cuda() for tensor in draw(*arguments, **options))  # type: ignore[arg-type]


def check(inputs: tuple[torch.Tensor, ...], mask: IntervalMask | None, p: float = 0.0, seed: int = 0) -> None:
    query, key = inputs[:2]
    factor = None
    options: dict[str, object] = {}
    if p:
        shape = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
        factor = dropout_keep(torch.tensor(seed, device="cuda"), p, *shape).double() / (1 - p)
        options = {"dropout_p": p, "seed": seed}
    result = with_gradients(*inputs, mask, impl="triton", **options)
    assert_kernel_matches_oracle("triton", result, inputs, mask, factor=factor, weights_from="softmax")


@pytest.fixture(autouse=True)
def no_tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [16, 24, 32, 40, 64, 80, 96, 128, 192, 256])
@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("length", [197, 601])  # a short line of the tables, and one for any length
def test_matches_the_oracle(dtype: torch.dtype, width: int, k: int, length: int) -> None:
    mask = random_mask(2, length, length, k, seed=width).to("cuda") if k else None
    check(on_device(2, length, length, 6, 2, width, dtype), mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_structured_masks(dtype: torch.dtype) -> None:
    lengths = torch.tensor([334, 291, 57], device="cuda")
    ids = torch.arange(334, device="cuda") // 61
    for mask in (
        IntervalMask.causal(334, device="cuda"),
        IntervalMask.prefix_lm(lengths // 3, lengths, 334),
        IntervalMask.packed(document_ids=ids, causal=True),
        IntervalMask.sliding_window(334, 40, 20, global_tokens=4, symmetric=True, device="cuda"),
        IntervalMask.shared_prefix(ids),
        IntervalMask.padding(torch.zeros(3, dtype=torch.int64, device="cuda"), 334),
    ):
        check(on_device(3, 334, 334, 4, 4, 64, dtype), mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_takes_the_bits_of_the_definition(dtype: torch.dtype) -> None:
    check(on_device(2, 137, 171, 6, 2, 64, dtype), random_mask(2, 137, 171, 2, seed=4).to("cuda"), 0.3, 2**40 + 7)


@pytest.mark.parametrize("shape", [(64, 16), (64, 64), (128, 64), (128, 128)])
def test_any_tile_shape(shape: tuple[int, int]) -> None:
    with forced(dict.fromkeys(KERNELS, Configuration(*shape, 8, 1))):
        check(on_device(2, 211, 307, 6, 2, 64, torch.bfloat16), random_mask(2, 211, 307, 2, seed=1).to("cuda"))


def test_any_strides() -> None:
    packed = torch.randn(2, 137, 3 * 4 * 64, device="cuda", dtype=torch.bfloat16)
    query, key, value = packed.view(2, 137, 3, 4, 64).unbind(2)
    key = key.transpose(1, 2).contiguous().transpose(1, 2)
    value = torch.cat([value, value[..., :1]], -1)[..., :64]
    grad = torch.randn(1, 1, 1, 1, device="cuda", dtype=torch.bfloat16).expand(2, 137, 4, 64)
    check((query[:1].expand(2, -1, -1, -1), key, value, grad), random_mask(2, 137, 137, 2, seed=2).to("cuda"))


def test_more_than_two_to_the_31_elements() -> None:
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip("needs 40 GiB")
    rows = 2**31 // (16 * 128) + 129
    query = torch.randn(1, rows, 16, 128, device="cuda", dtype=torch.bfloat16)
    starts = torch.arange(0, rows + 64, 64, device="cuda").clamp(max=rows)
    mask = IntervalMask.packed(cu_seqlens=starts, num_tokens=rows)
    out = masked_attention(query, query, query, mask, impl="triton")
    last = query[:, starts[-2] :].float().cpu()
    torch.testing.assert_close(
        out[:, starts[-2] :].float().cpu(), masked_attention(last, last, last), rtol=2e-2, atol=2e-2
    )


def test_forward_and_backward_do_not_synchronise() -> None:
    inputs = on_device(2, 133, 133, 4, 2, 64, torch.bfloat16)
    mask = random_mask(2, 133, 133, 2, seed=0).to("cuda")
    with_gradients(*inputs, mask, impl="triton")
    mask = IntervalMask(mask.intervals.clone(), 133)  # nothing remembered
    with no_synchronisation():
        with_gradients(*inputs, mask, impl="triton")


def test_a_cuda_graph_of_a_training_step_follows_new_intervals_and_seeds() -> None:
    *inputs, grad = on_device(2, 160, 160, 4, 2, 64, torch.bfloat16)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    mask = random_mask(2, 160, 160, 2, seed=0).to("cuda")
    seed = torch.tensor(3, device="cuda")

    def step(mask: IntervalMask) -> tuple[torch.Tensor, ...]:
        out = masked_attention(*leaves, mask, dropout_p=0.2, seed=seed, impl="triton")
        return (out, *torch.autograd.grad(out, leaves, grad))

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step(mask)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(mask)
    for number in (1, 2):
        other = random_mask(2, 160, 160, 2, number).to("cuda")
        mask.intervals.copy_(other.intervals)
        seed.fill_(number)
        graph.replay()
        for got, want in zip(captured, step(other), strict=True):
            assert torch.equal(got, want)


def test_run_twice_the_same_bits() -> None:
    inputs = on_device(4, 334, 334, 12, 4, 64, torch.bfloat16)
    mask = random_mask(4, 334, 334, 2, seed=0).to("cuda")
    results = [with_gradients(*inputs, mask, impl="triton", dropout_p=0.1, seed=1) for _ in range(3)]
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype: torch.dtype) -> None:
    query, key, value, grad = on_device(2, 70, 90, 4, 2, 32, dtype)
    mask = random_mask(2, 70, 90, 2, seed=0).to("cuda")
    torch.library.opcheck(torch.ops.gptface.attention_block_bounds.default, (mask.intervals, 90))
    common = (mask.intervals, *mask.block_bounds(), torch.tensor(3, device="cuda"), 0.25, 0.25)
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    torch.library.opcheck(torch.ops.gptface.masked_attention_triton.default, (*leaves, *common))
    query, key, value = (tensor.detach() for tensor in leaves)
    out, lse, state = torch.ops.gptface.masked_attention_triton(query, key, value, *common)
    arguments = (grad, torch.randn_like(lse), query, key, value, out, lse, state, *common)
    torch.library.opcheck(torch.ops.gptface.masked_attention_triton_backward.default, arguments)


def test_compiled_with_inductor() -> None:
    *inputs, grad = on_device(2, 133, 133, 4, 2, 64, torch.bfloat16)
    mask = random_mask(2, 133, 133, 1, seed=0).to("cuda")

    def layer(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: IntervalMask) -> torch.Tensor:
        return masked_attention(query, key, value, mask, impl="triton")

    results = []
    for function in (layer, torch.compile(layer, fullgraph=True, dynamic=True)):
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        out = function(*leaves, mask)
        results.append((out, *torch.autograd.grad(out, leaves, grad)))
    for got, want in zip(results[1], results[0], strict=True):
        assert torch.equal(got, want)


def test_lse() -> None:
    query, key, value, _ = on_device(2, 137, 171, 4, 2, 64)
    mask = random_mask(2, 137, 171, 2, seed=3).to("cuda")
    _, lse = masked_attention(query, key, value, mask, return_lse=True, impl="triton")
    _, oracle = masked_attention(query.double(), key.double(), value.double(), mask, return_lse=True, impl="reference")
    seen = oracle > -torch.inf
    assert torch.equal(lse > -torch.inf, seen)
    assert rmse_ratio(lse[seen], oracle[seen]) <= RMSE_LIMIT[torch.float32]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [150, 601])  # a short line of the tables, and one for any length
@pytest.mark.parametrize("options", [{}, {"dropout_p": 0.2, "seed": 3}], ids=["", "dropout"])
def test_a_bad_number_stays_with_what_sees_it(
    bad: float, dtype: torch.dtype, kind: str, length: int, options: dict[str, object]
) -> None:
    mask, rows = containment_case(kind, length)
    inputs = on_device(1, mask.num_queries, mask.num_keys, 2, 2, 64, dtype)
    assert_contained(inputs, mask.to("cuda"), rows, bad, impl="triton", **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [16, 40, 64, 128, 256])
def test_padding_may_hold_anything(dtype: torch.dtype, width: int) -> None:
    assert_padding_may_hold_anything("cuda", [0, 57, 291, 334], 334, dtype, width, impl="triton")
