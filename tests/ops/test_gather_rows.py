"""``gather_rows``: the rows that a span mask names, zeros for −1, and one scatter backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from gptface.errors import InputError
from gptface.ops import TextSpans, gather_rows, implementations, sample_span_mask


def by_hand(hidden: Tensor, indices: Tensor) -> Tensor:
    """A loop over rows, differentiated by autograd."""
    flat = hidden.flatten(0, -2)
    zero = 0 * flat[0]  # in the graph, also where no row is named
    return torch.stack([flat[int(i)] if i >= 0 else zero for i in indices]) if len(indices) else flat[:0]


@given(
    size=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 9)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    index_dtype=st.sampled_from([torch.int64, torch.int32]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_values_and_gradients(size: tuple[int, int, int], dtype: Any, index_dtype: Any, data: st.DataObject) -> None:
    batch, length, width = size
    indices = torch.tensor(data.draw(st.lists(st.integers(-1, batch * length - 1), max_size=20)), dtype=index_dtype)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    hidden = torch.randn(size, generator=generator).to(dtype)
    gradient = torch.randn((len(indices), width), generator=generator).to(dtype)
    leaf = hidden.clone().requires_grad_()
    rows = gather_rows(leaf, indices)
    rows.backward(gradient)
    assert rows.dtype == dtype and torch.equal(rows, by_hand(hidden, indices))

    exact = hidden.double().requires_grad_()
    by_hand(exact, indices).backward(gradient.double())
    assert leaf.grad is not None and leaf.grad.dtype == dtype and exact.grad is not None
    # A row named n times is a sum of n terms, each addition rounded once, in whatever order: (n − 1) u Σ |term| and
    # the rounding of the result (Higham 2002, section 4.2).
    sizes, counts = torch.zeros(batch * length, width, dtype=torch.float64), torch.zeros(batch * length, 1)
    named = indices >= 0
    sizes.index_add_(0, indices[named].long(), gradient[named].double().abs())
    counts.index_add_(0, indices[named].long(), torch.ones(int(named.sum()), 1))
    bound = counts * torch.finfo(dtype).eps / 2 * 1.01 * sizes
    assert ((leaf.grad.double() - exact.grad).abs() <= bound.view(size)).all()


def test_second_derivatives() -> None:
    hidden = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    indices = torch.tensor([5, -1, 0, 5])
    assert torch.autograd.gradcheck(lambda x: gather_rows(x, indices), hidden)
    assert torch.autograd.gradgradcheck(lambda x: gather_rows(x, indices).square(), hidden)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_nothing_flows_to_or_from_rows_of_minus_one(value: float) -> None:
    hidden = torch.full((1, 3, 2), value, requires_grad=True)
    rows = gather_rows(hidden, torch.tensor([-1, -1]))
    assert torch.equal(rows, torch.zeros(2, 2))
    rows.backward(torch.full((2, 2), value))
    assert hidden.grad is not None and torch.equal(hidden.grad, torch.zeros(1, 3, 2))


def test_empty_shapes() -> None:
    assert gather_rows(torch.zeros(2, 3, 4), torch.zeros(0, dtype=torch.int64)).shape == (0, 4)
    hidden = torch.zeros(0, 4, requires_grad=True)
    rows = gather_rows(hidden, torch.tensor([-1, -1]))
    rows.sum().backward()
    assert rows.shape == (2, 4) and hidden.grad is not None and hidden.grad.shape == (0, 4)


@pytest.mark.parametrize("index", [-2, 6])
def test_an_index_out_of_range_is_an_error(index: int) -> None:
    with pytest.raises((IndexError, RuntimeError), match="index"):
        gather_rows(torch.zeros(2, 3, 4), torch.tensor([0, index]))
    with pytest.raises(RuntimeError, match="without rows"):
        gather_rows(torch.zeros(0, 4), torch.tensor([0]))


def test_rows_are_not_a_view_and_strides_are_free() -> None:
    hidden = torch.randn(4, 3, 2).transpose(0, 1)
    rows = gather_rows(hidden, torch.tensor([1, 11]))
    assert torch.equal(rows, torch.stack([hidden[0, 1], hidden[2, 3]]))
    rows.zero_()
    assert hidden.abs().sum() > 0


def test_sampler_to_loss_in_one_compiled_graph() -> None:
    """Padding of ``indices`` is static, and neither a new batch nor a new step compiles again."""
    head = torch.nn.Linear(8, 5)
    spec = TextSpans((0.1, 0.6))

    def loss(hidden: Tensor, labels: Tensor, ids: Tensor, step: int) -> Tensor:
        lengths = torch.full_like(ids, hidden.shape[1])
        mask = sample_span_mask(spec, lengths, seed=1, step=step, sample_ids=ids, max_length=hidden.shape[1])
        rows = gather_rows(hidden, mask.indices)
        named = mask.indices >= 0
        targets = torch.where(named, labels.flatten()[mask.indices.clamp_min(0)], -100)
        return torch.nn.functional.cross_entropy(head(rows), targets, reduction="sum", ignore_index=-100)

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, backend=counter, fullgraph=True, dynamic=True)
    for step, batch in enumerate([2, 3, 4, 5]):
        labels, ids = torch.randint(0, 5, (batch, 12)), torch.arange(batch)
        found = []
        for function in (compiled, loss):
            torch.manual_seed(step)
            hidden = torch.randn(batch, 12, 8, requires_grad=True)
            value = function(hidden, labels, ids, step)
            value.backward()
            found.append((value.detach(), hidden.grad))
        for mine, theirs in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs)
    assert counter.frame_count <= 2


def test_opcheck() -> None:
    indices = torch.tensor([3, -1, 0])
    torch.library.opcheck(torch.ops.gptface.gather_rows.default, (torch.randn(6, 4, requires_grad=True), indices))
    torch.library.opcheck(torch.ops.gptface.scatter_rows.default, (torch.randn(3, 4, requires_grad=True), indices, 6))


@pytest.mark.parametrize(
    ("hidden", "indices", "names"),
    [
        (torch.zeros(4), torch.zeros(1, dtype=torch.int64), r"hidden is torch.float32 \(4,\)"),
        (torch.zeros(4, 2, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), "hidden"),
        ([[1.0]], torch.zeros(1, dtype=torch.int64), "hidden is list"),
        (torch.zeros(4, 2), torch.zeros(1, 1, dtype=torch.int64), "indices"),
        (torch.zeros(4, 2), torch.zeros(1), "indices"),
        (torch.zeros(4, 2), [0], "indices is list"),
        (torch.zeros(4, 2, device="meta"), torch.zeros(1, dtype=torch.int64), "one device"),
    ],
)
def test_bad_calls_are_named(hidden: Any, indices: Any, names: str) -> None:
    with pytest.raises(InputError, match=names):
        gather_rows(hidden, indices)


def test_it_is_listed() -> None:
    assert [found.name for found in implementations("gather_rows")] == ["reference"]
    with pytest.raises(ValueError, match="'reference'"):
        gather_rows(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), impl="cuda")


def test_forward_mode_is_refused_and_never_zero() -> None:
    hidden = torch.randn(5, 8)
    with pytest.raises(RuntimeError, match="gather_rows has no forward-mode derivative"):
        torch.func.jvp(lambda hidden: gather_rows(hidden, torch.tensor([1, 3])), (hidden,), (hidden,))


def test_a_functional_gradient_is_refused_in_our_words() -> None:
    with pytest.raises(RuntimeError, match="gather_rows cannot be differentiated by torch's function transforms"):
        torch.func.grad(lambda hidden: gather_rows(hidden, torch.tensor([0, -1])).sum())(torch.ones(2, 3, 4))
