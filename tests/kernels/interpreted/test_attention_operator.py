"""The Triton implementation under torch's tools, its kernels interpreted: opcheck, compiled, remembered bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from gptface.kernels.attention_configurations import KERNELS, Configuration, forced
from gptface.ops import IntervalMask, implementations, masked_attention
from gptface.ops.attention import explain
from tests.ops.attention_cases import draw, random_mask, with_gradients


@pytest.mark.parametrize("masked", [False, True])
def test_opcheck(masked: bool) -> None:
    query, key, value, grad = draw(2, 9, 11, 4, 2, 16)
    mask = random_mask(2, 9, 11, 2, seed=0)
    bounds = mask.block_bounds() if masked else (None, None)
    seed = torch.tensor(3) if masked else None
    common = (mask.intervals if masked else None, *bounds, seed, 0.25, 0.25 if masked else 0.0)
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    torch.library.opcheck(torch.ops.gptface.masked_attention_triton.default, (*leaves, *common))
    query, key, value = (tensor.detach() for tensor in leaves)
    out, lse, state = torch.ops.gptface.masked_attention_triton(query, key, value, *common)
    arguments = (grad, torch.randn_like(lse), query, key, value, out, lse, state, *common)
    torch.library.opcheck(torch.ops.gptface.masked_attention_triton_backward.default, arguments)


def test_opcheck_of_the_bounds() -> None:
    mask = random_mask(2, 70, 130, 2, seed=0)
    torch.library.opcheck(torch.ops.gptface.attention_block_bounds.default, (mask.intervals, 130))


def test_new_masks_and_sizes_never_recompile() -> None:
    def two_layers(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask) -> Tensor:
        for _ in range(2):
            query = query + masked_attention(query, key, value, mask, impl="triton")
        return query

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(two_layers, backend=counter, fullgraph=True, dynamic=True)
    counts = []
    for seed, (queries, keys) in enumerate([(9, 11), (13, 7), (13, 17)]):
        inputs, mask = draw(2, queries, keys, 2, 2, 16, seed=seed), random_mask(2, queries, keys, 2, seed)
        results = []
        for function in (two_layers, compiled):
            leaves = [tensor.detach().requires_grad_() for tensor in inputs[:3]]
            out = function(*leaves, mask)
            results.append((out, *torch.autograd.grad(out, leaves, inputs[3])))
        for got, want in zip(results[1], results[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        counts.append(counter.frame_count)
    assert counts[1:] == counts[:1] * 2, counts


def test_bounds_are_made_once_for_all_layers_and_follow_new_intervals() -> None:
    mask = random_mask(1, 9, 9, 1, seed=0)
    query, key, value, _ = draw(1, 9, 9, 2, 2, 16)
    masked_attention(query, key, value, mask, impl="triton")
    bounds = mask.block_bounds()[0]
    masked_attention(query, key, value, mask, impl="triton")
    assert mask.block_bounds()[0] is bounds
    other = random_mask(1, 9, 9, 1, seed=5)
    mask.intervals.copy_(other.intervals)
    expected = masked_attention(query, key, value, other, impl="reference")
    torch.testing.assert_close(masked_attention(query, key, value, mask, impl="triton"), expected)


def test_auto_leaves_the_interpreter_alone() -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16)
    choice = explain(query, key, value, IntervalMask.causal(5))
    assert choice.implementation != "triton"
    assert ("triton", "Triton's interpreter is for tests") in choice.unsupported
    assert explain(query, key, value, impl="triton").implementation == "triton"
    assert {found.name: found.available for found in implementations("masked_attention")}["triton"]


def test_float64_is_refused() -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16, torch.float64)
    with pytest.raises(RuntimeError, match=r"impl='triton' cannot run this call: float64"):
        masked_attention(query, key, value, impl="triton")


def test_second_order_is_a_clear_error() -> None:
    leaves = [tensor.requires_grad_() for tensor in draw(1, 5, 5, 2, 2, 16)[:3]]
    out = masked_attention(*leaves, IntervalMask.causal(5), impl="triton")
    (grad_query,) = torch.autograd.grad(out.square().sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="masked_attention can be differentiated once"):
        grad_query.sum().backward()


def test_a_full_mask_is_no_mask() -> None:
    inputs = draw(1, 37, 37, 2, 2, 16)
    with forced(dict.fromkeys(KERNELS, Configuration(32, 16, 4, 1))):
        plain = with_gradients(*inputs, None, impl="triton")
        full = with_gradients(*inputs, IntervalMask.full(37), impl="triton")
    assert all(torch.equal(plain[name], full[name]) for name in plain)
