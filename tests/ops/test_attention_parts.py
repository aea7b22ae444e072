"""Parts of a sample that stand by themselves (packed documents, what padding leaves) in the CPU kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.ops import IntervalMask, masked_attention
from gptface.ops.native import cpu_kernel_missing
from tests.ops.attention_cases import GRADIENTS, assert_kernel_matches_oracle, draw, with_gradients
from tests.ops.attention_containment import INPUTS, assert_contained

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX") or shutil.which("c++")
needs_kernel = pytest.mark.skipif(cpu_kernel_missing("masked_attention") is not None, reason="no native kernel")


def documents(lengths: list[int]) -> Tensor:
    """Document of each row; every fourth is padding, which sees nothing and nobody sees."""
    ids = torch.arange(len(lengths))
    return torch.where(ids % 4 == 3, -1, ids).repeat_interleave(torch.tensor(lengths))


def check(inputs: tuple[Tensor, ...], mask: IntervalMask) -> None:
    assert_kernel_matches_oracle("cpu", with_gradients(*inputs, mask, impl="cpu"), inputs, mask)


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_the_plan_by_itself(tmp_path: Path) -> None:
    program = tmp_path / "checks"
    command = [str(COMPILER), "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc' / 'include'}"]
    source = ROOT / "tests" / "native" / "attention_plan_checks.cpp"
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    ran = subprocess.run([str(program)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@needs_kernel
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=8), st.booleans(), st.sampled_from([(1, 1), (4, 2)]))
def test_documents_of_any_length_side_by_side(lengths: list[int], causal: bool, heads: tuple[int, int]) -> None:
    ids = documents(lengths)
    check(draw(1, len(ids), len(ids), *heads, 24), IntervalMask.packed(document_ids=ids, causal=causal))


def _in_reverse(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return low.flip(0), high.flip(0)


def _one_row_for_all(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    high = high.clone()
    high[7] = high.max()
    return low, high


def _apart_in_keys(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return low + 9, (high + 9).minimum(low + 60)


@needs_kernel
@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("change", [_in_reverse, _one_row_for_all, _apart_in_keys])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_that_are_not_the_documents(
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], dtype: torch.dtype
) -> None:
    """Queries in another order than their keys, a row that joins all, keys that nobody sees at either end."""
    packed = IntervalMask.packed(document_ids=documents([40, 3, 90, 20, 17, 33])).intervals[0, :, 0]
    low, high = change(packed[:, 0], packed[:, 1])
    intervals = torch.stack([low, high], -1).view(1, -1, 1, 2).to(torch.int32)
    mask = IntervalMask(intervals, 240)
    check(draw(2, len(low), 240, 4, 2, 32, dtype), mask)


@needs_kernel
@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("batch", [1, 3])
def test_rows_and_keys_of_no_part_are_zero(batch: int) -> None:
    query, key, value, grad = draw(batch, 50, 70, 2, 2, 16)
    bounds = torch.zeros(batch, 50, 1, 2, dtype=torch.int32)
    bounds[0, 20:30, 0] = torch.tensor([33, 41], dtype=torch.int32)  # the other samples see nothing at all
    mask = IntervalMask(bounds, 70)
    out, lse = masked_attention(query, key, value, mask, return_lse=True, impl="cpu")
    result = with_gradients(query, key, value, grad, mask, impl="cpu")
    seen, keys = torch.zeros(batch, 50, dtype=torch.bool), torch.zeros(batch, 70, dtype=torch.bool)
    seen[0, 20:30] = keys[0, 33:41] = True
    assert torch.equal((out != 0).all(-1).all(-1), seen)
    assert torch.equal(lse.isfinite().all(1), seen)
    assert torch.equal((result["grad_query"] != 0).any(-1).all(-1), seen)
    for name in ("grad_key", "grad_value"):
        assert torch.equal((result[name] != 0).any(-1).all(-1), keys), name


@needs_kernel
@pytest.mark.parametrize("width", [32, 40])
def test_documents_in_one_row_are_what_they_are_in_a_batch(width: int) -> None:
    lengths = torch.tensor([100, 37, 140, 8, 61])
    inputs = draw(len(lengths), 140, 140, 2, 2, width)
    padded = with_gradients(*inputs, IntervalMask.padding(lengths, 140), impl="cpu")
    real = torch.arange(140) < lengths[:, None]
    ids = torch.arange(len(lengths)).repeat_interleave(lengths)
    row = tuple(tensor[real][None] for tensor in inputs)
    packed = with_gradients(*row, IntervalMask.packed(document_ids=ids), impl="cpu")
    for name in ("out", *GRADIENTS):
        torch.testing.assert_close(packed[name][0], padded[name][real], rtol=1e-5, atol=1e-5)


@needs_kernel
@pytest.mark.parametrize("causal", [False, True])
def test_threads_do_not_show_in_packed_documents(causal: bool) -> None:
    ids = documents([90, 5, 200, 30, 64, 11])
    inputs = draw(1, len(ids), len(ids), 4, 2, 16)
    mask = IntervalMask.packed(document_ids=ids, causal=causal)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(with_gradients(*inputs, mask, impl="cpu", dropout_p=0.1, seed=3))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_bad_number_of_a_neighbouring_document_in_the_same_block_of_keys(dtype: torch.dtype) -> None:
    """Keys are packed in whole blocks: the ends of a part's first and last block belong to its neighbours."""
    mask = IntervalMask.packed(document_ids=torch.arange(4).repeat_interleave(torch.tensor([45, 34, 50, 27])))
    inputs = draw(1, mask.num_queries, mask.num_keys, 2, 2, 24, dtype)
    for row in (44, 45, 78, 79, 128):
        assert_contained(inputs, mask, dict.fromkeys(INPUTS, row), float("nan"), impl="cpu")
