"""Masked attention under torch's function transforms and without data: a right result, or an error that says why."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

from gptface.ops import IntervalMask, masked_attention
from gptface.ops.native import cpu_kernel_missing
from tests.ops.attention_cases import draw, random_mask

needs_cpu_kernel = pytest.mark.skipif(cpu_kernel_missing("masked_attention") is not None, reason="no native kernel")
OURS = ["reference", pytest.param("cpu", marks=needs_cpu_kernel)]


def stacked(count: int) -> list[Tensor]:
    """``(count, B, S, H, D)`` query, key and value."""
    draws = [draw(2, 7, 11, 4, 2, 16, seed=seed)[:3] for seed in range(count)]
    return [torch.stack(tensors) for tensors in zip(*draws, strict=True)]


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch runs the calls one by one
@pytest.mark.parametrize("impl", OURS)
def test_vmap_is_a_call_for_each(impl: str) -> None:
    query, key, value = stacked(3)
    mask = random_mask(2, 7, 11, 2, seed=1)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return masked_attention(query, key, value, mask, impl=impl, return_lse=True)

    out, lse = torch.vmap(attend, in_dims=(0, None, 0))(query, key[0], value)
    for sample in range(3):
        expected = attend(query[sample], key[0], value[sample])
        assert torch.equal(out[sample], expected[0]) and torch.equal(lse[sample], expected[1])


@pytest.mark.parametrize("impl", OURS)
def test_forward_mode_is_refused_and_never_zero(impl: str) -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16)

    def attend(tensor: Tensor, place: int) -> Tensor:
        tensors = [query, key, value]
        tensors[place] = tensor
        return masked_attention(*tensors, IntervalMask.causal(5), impl=impl)  # type: ignore[call-overload]

    for place, tensor in enumerate((query, key, value)):
        with pytest.raises(RuntimeError, match="masked_attention has no forward-mode derivative"):
            torch.func.jvp(lambda tensor, place=place: attend(tensor, place), (tensor,), (tensor,))
        with forward_ad.dual_level(), pytest.raises(RuntimeError, match="no forward-mode derivative"):
            attend(forward_ad.make_dual(tensor, tensor), place)
    with forward_ad.dual_level():  # of something else
        torch.testing.assert_close(attend(query, 0), masked_attention(query, key, value, IntervalMask.causal(5)))


@pytest.mark.parametrize("impl", OURS)
def test_a_functional_gradient_is_refused_in_our_words(impl: str) -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16)

    def loss(query: Tensor) -> Tensor:
        return masked_attention(query, key, value, IntervalMask.causal(5), impl=impl).square().sum()

    for transformed in (torch.func.grad(loss), torch.func.jacrev(loss), lambda q: torch.func.vjp(loss, q)):
        with pytest.raises(RuntimeError, match=r"masked_attention cannot be differentiated by torch's function trans"):
            transformed(query)
    batch = query.expand(3, *query.shape)
    with pytest.raises(RuntimeError, match="function transforms"):
        torch.vmap(torch.func.grad(loss))(batch)
    with pytest.raises(RuntimeError, match="function transforms"):
        torch.func.grad(lambda many: torch.vmap(loss)(many).sum())(batch)


@pytest.mark.parametrize("impl", OURS)
def test_a_functional_gradient_of_something_else_passes(impl: str) -> None:
    query, key, value, _ = draw(1, 5, 5, 2, 2, 16)
    expected = masked_attention(query, key, value, impl=impl)

    def loss(factor: Tensor) -> Tensor:
        return (factor * masked_attention(query, key, value, impl=impl)).sum()

    torch.testing.assert_close(torch.func.grad(loss)(torch.tensor(2.0)), expected.sum())


@pytest.mark.parametrize("impl", OURS)
def test_second_order_is_a_clear_error(impl: str) -> None:
    leaves = [tensor.requires_grad_() for tensor in draw(1, 5, 5, 2, 2, 16)[:3]]
    out, lse = masked_attention(*leaves, IntervalMask.causal(5), impl=impl, return_lse=True)
    gradients = torch.autograd.grad(out.square().sum() + lse.square().sum(), leaves, create_graph=True)
    for gradient in gradients:
        with pytest.raises(RuntimeError, match="masked_attention can be differentiated once"):
            torch.autograd.grad(gradient.sum(), leaves, retain_graph=True)


@pytest.mark.parametrize("impl", OURS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shapes_without_data(impl: str, dtype: torch.dtype) -> None:
    """Fake tensors: what a memory planner or a sharding tool sees is what a real call makes."""
    query, key, value, grad = draw(2, 5, 7, 4, 2, 16, dtype)
    mask = random_mask(2, 5, 7, 2, seed=0)

    def run(query: Tensor, key: Tensor, value: Tensor, grad: Tensor, mask: IntervalMask) -> list[Tensor]:
        leaves = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
        out, lse = masked_attention(*leaves, mask, return_lse=True, impl=impl, dropout_p=0.1, seed=3)
        return [out, lse, *torch.autograd.grad([out, lse], leaves, [grad, torch.ones_like(lse)])]

    real = run(query, key, value, grad, mask)
    with FakeTensorMode() as mode:
        tensors = [mode.from_tensor(tensor) for tensor in (query, key, value, grad)]
        fake = run(*tensors, IntervalMask(mode.from_tensor(mask.intervals), 7))
    for got, want in zip(fake, real, strict=True):
        assert (got.shape, got.dtype, got.stride()) == (want.shape, want.dtype, want.stride())
