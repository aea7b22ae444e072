"""Masked attention on a CUDA device: the oracle, the bits of dropout, no synchronisation, CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention.reference import dropout_keep
from tests.helpers.numerics import RMSE_LIMIT, rmse_ratio
from tests.ops.attention_cases import GRADIENTS, dense_with_gradients, draw, random_mask, with_gradients

pytestmark = pytest.mark.gpu


@contextmanager
def no_synchronisation() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("impl", ["reference", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k", [1, 2])
def test_matches_the_oracle(impl: str, dtype: torch.dtype, k: int) -> None:
    inputs = tuple(tensor.cuda() for tensor in draw(3, 61, 83, 4, 2, 64, dtype))
    mask = random_mask(3, 61, 83, k, seed=k).to("cuda")
    result = with_gradients(*inputs, mask, impl=impl)
    oracle = dense_with_gradients(*inputs, mask, torch.float64)
    empty = ~mask.to_dense().any(-1)
    assert (result["out"][empty] == 0).all() and (result["grad_query"][empty] == 0).all()
    for name in ("out", *GRADIENTS):
        assert torch.isfinite(result[name]).all(), name
        assert rmse_ratio(result[name], oracle[name]) <= RMSE_LIMIT[dtype], name


def test_dropout_decides_as_on_the_cpu() -> None:
    on_cpu = dropout_keep(torch.tensor(2**40 + 7), 0.3, 2, 3, 37, 41)
    assert torch.equal(dropout_keep(torch.tensor(2**40 + 7, device="cuda"), 0.3, 2, 3, 37, 41).cpu(), on_cpu)


def test_constructors_agree_with_the_cpu_and_do_not_synchronise() -> None:
    lengths = torch.tensor([0, 4, 8])
    ids = torch.tensor([[0, 0, 0, 1, 1, 2, 2, -1], [0, 1, 1, 1, 0, 0, 3, 3], [-1, -1, 0, 0, 1, 1, 1, 1]])

    def build(lengths: torch.Tensor, ids: torch.Tensor) -> list[IntervalMask]:
        device = lengths.device
        return [
            IntervalMask.full(8, device=device),
            IntervalMask.causal(8, device=device) & IntervalMask.padding(lengths, 8),
            IntervalMask.sliding_window(8, 2, global_tokens=2, device=device),
            IntervalMask.prefix_lm(lengths // 2, lengths, 8),
            IntervalMask.packed(cu_seqlens=lengths, num_tokens=8),
            IntervalMask.packed(document_ids=ids),
            IntervalMask.multimodal(ids, ids - 1),
            IntervalMask.shared_prefix(ids),
            IntervalMask.shared_prefix(ids) & IntervalMask.shared_prefix(ids),
        ]

    expected = build(lengths, ids)
    lengths, ids = lengths.cuda(), ids.cuda()
    build(lengths, ids)
    with no_synchronisation():
        masks = build(lengths, ids)
    for mask, on_cpu in zip(masks, expected, strict=True):
        assert torch.equal(mask.intervals.cpu(), on_cpu.intervals)


@pytest.mark.parametrize("options", [{}, {"impl": "reference"}, {"dropout_p": 0.2, "seed": 5}])
def test_forward_and_backward_do_not_synchronise(options: dict[str, object]) -> None:
    inputs = tuple(tensor.cuda() for tensor in draw(2, 33, 33, 4, 2, 64))
    mask = random_mask(2, 33, 33, 2, seed=0).to("cuda")
    with_gradients(*inputs, mask, **options)
    mask = IntervalMask(mask.intervals.clone(), 33)  # nothing remembered
    with no_synchronisation():
        with_gradients(*inputs, mask, **options)


@pytest.mark.parametrize("impl", ["reference", "sdpa"])
def test_a_cuda_graph_follows_new_intervals(impl: str) -> None:
    query, key, value, _ = (tensor.cuda() for tensor in draw(2, 32, 32, 4, 4, 64))
    mask = random_mask(2, 32, 32, 2, seed=0).to("cuda")
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        masked_attention(query, key, value, mask, impl=impl)  # warm, and the dense form remembered
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = masked_attention(query, key, value, mask, impl=impl)
    for seed in (1, 2):
        other = random_mask(2, 32, 32, 2, seed).to("cuda")
        mask.intervals.copy_(other.intervals)
        graph.replay()
        torch.testing.assert_close(out, masked_attention(query, key, value, other, impl=impl))


def test_deterministic_gradients_are_the_same_bits() -> None:
    inputs = tuple(tensor.cuda() for tensor in draw(2, 128, 128, 4, 2, 64, torch.bfloat16))
    mask = random_mask(2, 128, 128, 1, seed=0).to("cuda")
    first, second = (with_gradients(*inputs, mask, deterministic=True) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
