"""The CPU kernels of masked attention: every instruction set, widths and panels, threads, dropout bits, bad numbers."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention import explain
from gptface.ops.attention.cpu_table import CpuCall, preferences
from gptface.ops.attention.reference import dropout_keep
from gptface.ops.cpu_class import cpu_class
from gptface.ops.native import cpu_instruction_set, cpu_kernel_missing
from tests.helpers.instruction_sets import INSTRUCTION_SETS, under_instruction_set
from tests.ops.attention_cases import (
    assert_kernel_matches_oracle,
    draw,
    random_mask,
    with_gradients,
)
from tests.ops.attention_containment import INPUTS, assert_contained

pytestmark = pytest.mark.skipif(cpu_kernel_missing("masked_attention") is not None, reason="no native kernel")



@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    with under_instruction_set(request.param) as name:
        yield name


def check(inputs: tuple[torch.Tensor, ...], mask: IntervalMask | None) -> None:
    assert_kernel_matches_oracle("cpu", with_gradients(*inputs, mask, impl="cpu"), inputs, mask)


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("k", [0, 1, 2])
def test_every_instruction_set(instruction_set: str, dtype: torch.dtype, k: int) -> None:
    mask = random_mask(2, 83, 211, k, seed=k) if k else None  # several panels of queries and tiles of keys, none whole
    check(draw(2, 83, 211, 4, 2, 40, dtype), mask)


@pytest.mark.parametrize("width", [16, 24, 48, 72, 80, 104, 136, 192, 248, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_kind_of_width(width: int, dtype: torch.dtype) -> None:
    check(draw(1, 19, 23, 2, 1, width, dtype), random_mask(1, 19, 23, 1, seed=width))


@pytest.mark.parametrize("queries", [1, 15, 16, 17, 49, 64, 65, 129, 257, 300])
def test_every_split_of_queries_into_panels_and_blocks(queries: int) -> None:
    check(draw(1, queries, 31, 2, 2, 16, torch.bfloat16), random_mask(1, queries, 31, 2, seed=queries))


@pytest.mark.parametrize(
    "mask",
    [
        IntervalMask.causal(300),
        IntervalMask.causal(150, 300),
        IntervalMask.sliding_window(300, 20, global_tokens=9),
        IntervalMask.prefix_lm(torch.tensor([0, 137, 300]), torch.tensor([300, 260, 300]), 300),
        IntervalMask.packed(document_ids=torch.arange(300) // 37, causal=True),
        IntervalMask.shared_prefix(torch.tensor([0] * 70 + [1] * 100 + [2] * 101 + [-1] * 29)),
    ],
    ids=["causal", "last queries", "window and sinks", "prefix", "packed", "shared prefix"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_with_whole_partial_and_hidden_tiles(mask: IntervalMask, dtype: torch.dtype) -> None:
    check(draw(3, mask.num_queries, 300, 2, 1, 32, dtype), mask)


def available_instruction_sets() -> list[str]:
    before, found = cpu_instruction_set(), []
    for name in INSTRUCTION_SETS:
        with contextlib.suppress(RuntimeError):
            found.append(cpu_instruction_set(name))
    cpu_instruction_set(before)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_random_problems(dtype: torch.dtype, data: st.DataObject) -> None:
    """Anything that the operator takes, but for lengths so short that an error says nothing: see test_random_masks."""
    queries, keys = data.draw(st.integers(8, 90)), data.draw(st.integers(8, 200))
    heads, key_heads = data.draw(st.sampled_from([(1, 1), (4, 2), (3, 1)]))
    width, k, seed = 8 * data.draw(st.integers(2, 32)), data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2**31))
    p = data.draw(st.sampled_from([0.0, 0.3]))
    inputs = draw(1, queries, keys, heads, key_heads, width, dtype, seed=seed)
    mask = random_mask(1, queries, keys, k, seed) if k else None
    factor = None
    if p:
        factor = dropout_keep(torch.tensor(seed), p, 1, heads, queries, keys).double() / (1 - p)
    before = cpu_instruction_set()
    try:
        chosen = cpu_instruction_set(data.draw(st.sampled_from(available_instruction_sets())))
        result = with_gradients(*inputs, mask, impl="cpu", dropout_p=p, seed=seed)
    finally:
        cpu_instruction_set(before)
    assert_kernel_matches_oracle(chosen, result, inputs, mask, factor=factor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_what_the_definition_drops(instruction_set: str, dtype: torch.dtype) -> None:
    """With one-hot values the output shows every weight; with one-hot gradients so does the value's gradient."""
    batch, queries, keys, heads = 2, 45, 64, 3
    query, key, _, _ = draw(batch, queries, keys, heads, heads, keys, dtype)
    value = torch.eye(keys, dtype=dtype).view(1, keys, 1, keys).expand(batch, -1, heads, -1)
    seed, p = 2**40 + 11, 0.4
    keep = dropout_keep(torch.tensor(seed), p, batch, heads, queries, keys)
    out = masked_attention(query, key, value, dropout_p=p, seed=seed, impl="cpu")
    assert torch.equal(out.transpose(1, 2) != 0, keep)
    leaf = value.detach().clone().requires_grad_()
    one_hot = torch.eye(queries, keys, dtype=dtype).view(1, queries, 1, keys).expand(batch, -1, heads, -1)
    (grad,) = torch.autograd.grad(masked_attention(query, key, leaf, dropout_p=p, seed=seed, impl="cpu"), leaf, one_hot)
    assert torch.equal(grad.permute(0, 2, 3, 1)[:, :, :queries] != 0, keep)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dropout_against_the_oracle(instruction_set: str, dtype: torch.dtype) -> None:
    inputs = draw(2, 37, 53, 4, 2, 32, dtype)
    mask = random_mask(2, 37, 53, 2, seed=4)
    p, seed = 0.25, 77
    factor = dropout_keep(torch.tensor(seed), p, 2, 4, 37, 53).double() / (1 - p)
    result = with_gradients(*inputs, mask, dropout_p=p, seed=seed, impl="cpu")
    assert_kernel_matches_oracle("cpu", result, inputs, mask, factor=factor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 20])
def test_threads_do_not_show(batch: int, dtype: torch.dtype) -> None:
    """Batch 1 has its keys cut into chunks, whose shares of the query's gradient are added up afterwards."""
    inputs = draw(batch, 130, 200, 4, 2, 16, dtype)
    mask = random_mask(batch, 130, 200, 2, seed=0)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(with_gradients(*inputs, mask, impl="cpu", dropout_p=0.1, seed=3))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


def test_lse_and_its_gradient(instruction_set: str) -> None:
    query, key, value, grad = draw(2, 33, 41, 4, 2, 16)
    mask = random_mask(2, 33, 41, 2, seed=3)
    seen = mask.to_dense().any(-1).unsqueeze(1)
    weight = torch.randn(2, 4, 33, generator=torch.Generator().manual_seed(1))
    results = []
    for impl, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (query, key, value)]
        out, lse = masked_attention(*leaves, mask, return_lse=True, impl=impl)
        assert ((lse == -torch.inf) == ~seen.expand_as(lse)).all()
        loss = (out * grad).sum() + (torch.where(seen, lse, 0.0) * weight).sum()
        results.append((torch.where(seen, lse, 0.0).detach(), *torch.autograd.grad(loss, leaves)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_bad_query_stays_in_its_row(instruction_set: str, bad: float, dtype: torch.dtype) -> None:
    query, key, value, _ = draw(1, 40, 50, 2, 2, 16, dtype)
    mask = random_mask(1, 40, 50, 1, seed=2)
    clean = masked_attention(query, key, value, mask, impl="cpu")
    row = int(mask.to_dense()[0].any(-1).nonzero()[7])
    query[0, row, 1] = bad
    out = masked_attention(query, key, value, mask, impl="cpu")
    assert out[0, row, 1].isnan().all()
    out[0, row, 1] = clean[0, row, 1]
    assert torch.equal(out, clean)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["random", "documents", "window and sinks"])
def test_a_bad_number_stays_with_what_sees_it(instruction_set: str, bad: float, dtype: torch.dtype, kind: str) -> None:
    """Rows of one tile share a product, in which a hidden weight is 0: 0 · NaN must not come out of it."""
    masks = {
        "random": random_mask(1, 83, 211, 1, seed=2),
        "documents": IntervalMask.packed(document_ids=torch.arange(150) // 37, causal=True),
        "window and sinks": IntervalMask.sliding_window(150, 20, global_tokens=3),
    }
    mask, query = masks[kind], 70
    low, high = mask.intervals[0, query, -1].tolist()
    assert low < high
    rows = dict(zip(INPUTS, (query, (low + high) // 2, high - 1, query), strict=True))
    inputs = draw(1, mask.num_queries, mask.num_keys, 2, 2, 24, dtype)
    assert_contained(inputs, mask, rows, bad, impl="cpu")


def test_a_bad_number_of_a_group_of_heads_stays_with_what_sees_it() -> None:
    """Grouped heads share packed keys, and dropout changes the weights that bad rows are added with."""
    query, key, value, grad = draw(1, 40, 60, 4, 2, 16, torch.bfloat16)
    mask = random_mask(1, 40, 60, 1, seed=5)
    for bad in range(23, 27):  # either half of a pair of keys
        changed = value.clone()
        changed[0, bad, 0] = float("nan")
        sees = mask.to_dense()[0, :, bad]
        clean = with_gradients(query, key, value, grad, mask, impl="cpu", dropout_p=0.2, seed=3)
        got = with_gradients(query, key, changed, grad, mask, impl="cpu", dropout_p=0.2, seed=3)
        for name in ("out", "grad_query"):
            assert torch.equal(got[name][0, ~sees], clean[name][0, ~sees]), name
            assert torch.equal(got[name][0, :, 2:], clean[name][0, :, 2:]), name
        assert torch.equal(got["grad_value"], clean["grad_value"])
        assert got["out"][0, sees, :2].isnan().all()


def test_scores_far_apart_and_large() -> None:
    """Maxima that grow from tile to tile, and weights far under the smallest float."""
    query, key, value, grad = draw(1, 20, 400, 1, 1, 16)
    key = key * torch.linspace(0.1, 40, 400).view(1, -1, 1, 1)
    check((query, key, value, grad), None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_addresses_past_two_to_the_thirty_one(dtype: torch.dtype) -> None:
    """Rows 2^29 elements apart in memory that nobody touches between them."""
    rows, width, stride = 6, 16, 2**29
    size = ((rows - 1) * stride + width) * dtype.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    try:
        memory = mmap.mmap(-1, size, flags=flags)
    except OSError as error:
        pytest.skip(f"no address space: {error}")
    far = torch.frombuffer(memory, dtype=dtype).as_strided((1, rows, 1, width), (0, stride, width, 1))
    query, key, value, grad = draw(1, rows, rows, 1, 1, width, dtype)
    mask = IntervalMask.causal(rows)
    want = with_gradients(query, key, value, grad, mask, impl="cpu")
    for tensors in (
        (far, key, value, grad),
        (query, far, value, grad),
        (query, key, far, grad),
        (query, key, value, far),
    ):
        position = next(i for i, tensor in enumerate(tensors) if tensor is far)
        far.copy_((query, key, value, grad)[position])
        got = with_gradients(*tensors, mask, impl="cpu")
        assert all(torch.equal(got[name], want[name]) for name in want)


@pytest.mark.usefixtures("instruction_set")
def test_a_call_takes_what_the_table_says_of_this_machine() -> None:
    """Also with a lower instruction set, for which the table has other lines."""
    query, key, value, _ = draw(1, 33, 33, 2, 2, 16)
    for mask in (None, IntervalMask.full(33), IntervalMask.causal(33), IntervalMask.sliding_window(33, 5)):
        kind = "full" if mask is None else mask.kind
        expected = preferences(cpu_class().name, CpuCall(torch.float32, kind, 33, 33, 16, False))[0]
        choice = explain(query, key, value, mask)
        assert (choice.implementation, choice.reason) == expected
        torch.testing.assert_close(
            masked_attention(query, key, value, mask), masked_attention(query, key, value, mask, impl="reference")
        )
        assert explain(query, key, value, mask, return_lse=True).implementation == "cpu"


def test_unknown_instruction_set() -> None:
    with pytest.raises(RuntimeError, match="this machine has no sse9"):
        cpu_instruction_set("sse9")


def test_a_device_or_dtype_without_kernel_says_so() -> None:
    query = torch.zeros(1, 3, 1, 16, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"impl='cpu' cannot run this call: float64"):
        masked_attention(query, query, query, impl="cpu")
    query = torch.zeros(1, 3, 1, 16, device="meta")
    with pytest.raises(RuntimeError, match=r"impl='cpu' cannot run this call: the inputs are on 'meta'"):
        masked_attention(query, query, query, impl="cpu")
