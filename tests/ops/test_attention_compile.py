"""Masked attention under torch's tools: opcheck, compiled without a break or a recompilation, exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention import library as attention_library
from tests.ops.attention_cases import draw, random_mask


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# --- opcheck ----------------------------------------------------------------------------------------------------------


def operator_arguments(
    dtype: torch.dtype, masked: bool, dropout_p: float, strided: bool = False
) -> tuple[Tensor | float | bool | None, ...]:
    query, key, value, _ = draw(2, 5, 7, 4, 2, 16, dtype)
    if strided:
        query = query.transpose(1, 2).contiguous().transpose(1, 2)
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    intervals = random_mask(2, 5, 7, 2, seed=0).intervals if masked else None
    return (*leaves, intervals, torch.tensor(3) if dropout_p else None, 0.25, dropout_p, False)


@pytest.mark.parametrize("name", attention_library.NAMES)
@pytest.mark.parametrize(
    ("dtype", "masked", "dropout_p", "strided"),
    [
        (torch.float32, True, 0.0, False),
        (torch.float32, False, 0.25, True),
        (torch.bfloat16, True, 0.25, True),
        (torch.float16, True, 0.0, False),
        (torch.float64, True, 0.0, False),
    ],
)
def test_opcheck(name: str, dtype: torch.dtype, masked: bool, dropout_p: float, strided: bool) -> None:
    if dtype == torch.float64 and name == "masked_attention":
        pytest.skip("kernels have no float64")
    operator = getattr(torch.ops.gptface, name).default
    torch.library.opcheck(operator, operator_arguments(dtype, masked, dropout_p, strided))


@pytest.mark.parametrize("strided", [False, True])
def test_opcheck_of_the_output_alone(strided: bool) -> None:
    query, key, value, intervals, _, scale, *_ = operator_arguments(torch.bfloat16, True, 0.0, strided)
    arguments = (query.detach(), key.detach(), value.detach(), intervals, scale)
    torch.library.opcheck(torch.ops.gptface.masked_attention_forward.default, arguments)


@pytest.mark.parametrize("name", attention_library.NAMES)
@pytest.mark.parametrize("with_lse", [False, True])
def test_opcheck_backward(name: str, with_lse: bool) -> None:
    arguments = operator_arguments(torch.float32, True, 0.25)
    query, key, value = (tensor.detach() for tensor in arguments[:3])
    out, lse = getattr(torch.ops.gptface, name)(query, key, value, *arguments[3:])
    grad_lse = torch.randn_like(lse) if with_lse else None
    operator = getattr(torch.ops.gptface, f"{name}_backward").default
    torch.library.opcheck(operator, (torch.randn_like(out), grad_lse, query, key, value, out, lse, *arguments[3:]))


# --- compiled ---------------------------------------------------------------------------------------------------------


def step(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask) -> Tensor:
    """Two layers under one mask."""
    for _ in range(2):
        query = query + masked_attention(query, key, value, mask)
    return query


def reference_step(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask) -> Tensor:
    for _ in range(2):
        out, lse = masked_attention(query, key, value, mask, impl="reference", return_lse=True)
        query = query + out + 0.01 * torch.where(lse > -torch.inf, lse, 0.0).transpose(1, 2).unsqueeze(-1)
    return query


def assert_same_with_gradients(
    eager: Callable[..., Tensor], compiled: Callable[..., Tensor], inputs: tuple[Tensor, ...], mask: IntervalMask
) -> None:
    results = []
    for function in (eager, compiled):
        leaves = [tensor.detach().requires_grad_() for tensor in inputs[:3]]
        out = function(*leaves, mask)
        results.append((out, *torch.autograd.grad(out, leaves, inputs[3])))
    for got, want in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", [step, reference_step])
def test_new_intervals_and_remembered_forms_never_recompile(function: Callable[..., Tensor]) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, backend=counter, fullgraph=True)
    for seed in range(4):
        mask = random_mask(2, 11, 11, 2, seed)
        if seed == 2:
            mask.dense()  # remembered by an eager layer before
        assert_same_with_gradients(function, compiled, draw(2, 11, 11, 4, 2, 16, seed=seed), mask)
        compiled(*draw(2, 11, 11, 4, 2, 16, seed=seed)[:3], mask)  # inference with the same object
    # One graph for training, one for calls without gradients.
    assert counter.frame_count == 2


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["sdpa", "reference", "auto"])
def test_dynamic_shapes_never_recompile(impl: str) -> None:
    def function(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask) -> Tensor:
        return masked_attention(query, key, value, mask, impl=impl)

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, backend=counter, fullgraph=True, dynamic=True)
    compilations = []  # the first call may count more than one: the compiler starts anew to make floats constants
    for batch, queries, keys in [(3, 7, 9), (5, 11, 13), (2, 17, 8)]:
        # The first sizes are all different: the compiler takes equal ones for the same symbol.
        inputs = draw(batch, queries, keys, 4, 2, 16, seed=queries)
        assert_same_with_gradients(function, compiled, inputs, random_mask(batch, queries, keys, 1, queries))
        compilations.append(counter.frame_count)
    assert compilations[1:] == compilations[:1] * 2, compilations


def test_sizes_that_change_become_dynamic_by_themselves() -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(step, backend=counter, fullgraph=True)
    for size in (7, 9, 13):
        inputs = draw(2, size, size, 4, 2, 16, seed=size)
        mask = random_mask(2, size, size, 1, size)
        torch.testing.assert_close(compiled(*inputs[:3], mask), step(*inputs[:3], mask))
    assert counter.frame_count == 2


def test_a_new_seed_never_recompiles() -> None:
    def drop(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask, seed: int | Tensor) -> Tensor:
        return masked_attention(query, key, value, mask, dropout_p=0.5, seed=seed)

    inputs, mask = draw(2, 7, 7, 2, 2, 16)[:3], IntervalMask.causal(7)
    for kind, allowed in ((torch.tensor, 1), (int, 2)):  # an integer is first taken for a constant, then for a variable
        torch._dynamo.reset()
        counter = CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(drop, backend=counter, fullgraph=True)
        for seed in (3, 5, 2**40 + 1, 2**62):
            assert torch.equal(compiled(*inputs, mask, kind(seed)), drop(*inputs, mask, kind(seed)))
        assert counter.frame_count <= allowed


BUILDERS: dict[str, Callable[[Tensor, Tensor], IntervalMask]] = {
    "full": lambda lengths, ids: IntervalMask.full(8),
    "causal": lambda lengths, ids: IntervalMask.causal(8),
    "sliding window": lambda lengths, ids: IntervalMask.sliding_window(8, 2, global_tokens=2),
    "padding": lambda lengths, ids: IntervalMask.padding(lengths, 8),
    "prefix_lm": lambda lengths, ids: IntervalMask.prefix_lm(lengths // 2, lengths, 8),
    "packed lengths": lambda lengths, ids: IntervalMask.packed(cu_seqlens=lengths.cumsum(0), num_tokens=8),
    "packed documents": lambda lengths, ids: IntervalMask.packed(document_ids=ids, causal=True),
    "multimodal": lambda lengths, ids: IntervalMask.multimodal(ids, ids - 1),
    "shared_prefix": lambda lengths, ids: IntervalMask.shared_prefix(ids),
    "intersection": lambda lengths, ids: IntervalMask.causal(8) & IntervalMask.padding(lengths, 8),
    "normalized": lambda lengths, ids: IntervalMask.shared_prefix(ids).normalized(),
}


@pytest.mark.parametrize("build", BUILDERS)
def test_every_constructor_inside_a_compiled_function(build: str) -> None:
    """No break means no host synchronisation: a value that the host had to see would break the graph."""

    def attend(lengths: Tensor, ids: Tensor, query: Tensor) -> tuple[Tensor, Tensor, IntervalMask]:
        mask = BUILDERS[build](lengths, ids)
        return masked_attention(query, query, query, mask), mask.tile_classes(4, 4), mask

    lengths = torch.tensor([0, 4, 7])
    ids = torch.tensor([[0, 0, 0, 1, 1, 2, 2, -1], [0, 1, 1, 1, 0, 0, 3, 3], [-1, -1, 0, 0, 1, 1, 1, 1]])
    query = draw(3, 8, 8, 2, 2, 16)[0]
    expected, tiles, mask = attend(lengths, ids, query)
    out, compiled_tiles, compiled_mask = torch.compile(attend, backend="eager", fullgraph=True)(lengths, ids, query)
    torch.testing.assert_close(out, expected)
    assert torch.equal(tiles, compiled_tiles)
    assert torch.equal(mask.intervals, compiled_mask.intervals) and mask.kind == compiled_mask.kind


@pytest.mark.parametrize("build", BUILDERS)
def test_no_constructor_looks_at_values(build: str) -> None:
    """On the meta device there are none."""
    lengths = torch.zeros(3, dtype=torch.int64, device="meta")
    ids = torch.zeros(3, 8, dtype=torch.int64, device="meta")
    with torch.device("meta"):
        mask = BUILDERS[build](lengths, ids)
    assert mask.device.type == "meta"
    assert mask.dense()[0].shape[-2:] == (8, 8)


def test_an_intersection_that_needs_three_intervals_fails_in_compiled_code_too() -> None:
    first = IntervalMask(torch.tensor([[[[0, 4], [6, 9]]]], dtype=torch.int32), 9)
    second = IntervalMask(torch.tensor([[[[0, 2], [3, 9]]]], dtype=torch.int32), 9)
    fits = IntervalMask(torch.tensor([[[[0, 2], [5, 9]]]], dtype=torch.int32), 9)
    compiled = torch.compile(lambda a, b: (a & b).intervals, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(first, fits), (first & fits).intervals)
    with pytest.raises(RuntimeError, match="needs three intervals"):
        compiled(first, second)


def test_autocast_inside_a_compiled_function() -> None:
    def attend(query: Tensor, mask: IntervalMask) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return masked_attention(query, query, query, mask)

    query, mask = draw(2, 7, 7, 2, 2, 16)[0], random_mask(2, 7, 7, 1, seed=0)
    out = torch.compile(attend, backend="aot_eager", fullgraph=True)(query, mask)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, attend(query, mask))


class Layer(torch.nn.Module):
    def __init__(self, impl: str) -> None:
        super().__init__()
        self.impl = impl

    def forward(self, query: Tensor, mask: IntervalMask) -> Tensor:
        return masked_attention(query, query, query, mask, impl=self.impl)


@pytest.mark.parametrize("impl", ["sdpa", "reference", "auto"])
def test_export_with_a_mask_as_argument(impl: str) -> None:
    query, mask = draw(2, 9, 9, 2, 2, 16)[0], random_mask(2, 9, 9, 2, seed=1)
    exported = torch.export.export(Layer(impl), (query, mask))
    other = random_mask(2, 9, 9, 2, seed=2)
    torch.testing.assert_close(exported.module()(query, other), Layer(impl)(query, other))


@pytest.mark.slow
def test_inductor_trains() -> None:
    inputs, mask = draw(2, 11, 11, 4, 2, 16), random_mask(2, 11, 11, 2, seed=0)

    def layer(query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask) -> Tensor:
        return masked_attention(query, key, value, mask)

    assert_same_with_gradients(layer, torch.compile(layer, fullgraph=True), inputs, mask)


@pytest.mark.parametrize("impl", ["sdpa", "reference", "auto"])
def test_gradient_checkpointing(impl: str) -> None:
    from torch.utils.checkpoint import checkpoint

    mask = random_mask(2, 9, 9, 2, seed=1)

    def layer(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return masked_attention(query, key, value, mask, impl=impl)

    *inputs, grad = draw(2, 9, 9, 2, 2, 16)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    expected = torch.autograd.grad(layer(*leaves), leaves, grad)
    got = torch.autograd.grad(checkpoint(layer, *leaves, use_reentrant=False), leaves, grad)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
