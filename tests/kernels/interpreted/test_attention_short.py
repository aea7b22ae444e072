"""Short sequences: which of them share a program's tile, and that they do not see one another there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gptface.kernels import attention
from gptface.kernels.attention_configurations import KERNELS, Configuration, forced
from gptface.ops import IntervalMask
from tests.helpers.numerics import RMSE_LIMIT, rmse_ratio
from tests.ops.attention_cases import GRADIENTS, dense_with_gradients, draw, random_mask, with_gradients

TILES = dict.fromkeys(KERNELS, Configuration(32, 32, 4, 1))


class Recorded:
    """A kernel that notes the grids it is launched over."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.grids: list[tuple[int, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        self.grids.append(grid)
        return self.kernel[grid]


def check(monkeypatch: pytest.MonkeyPatch, heads: int, key_heads: int, mask: IntervalMask, batch: int) -> list[int]:
    """Compare with the oracle; returns the programs of forward's, dQ's and dK/dV's first pass."""
    inputs = draw(batch, mask.num_queries, mask.num_keys, heads, key_heads, 16)
    recorded = []
    for name in ("forward_kernel", "grad_query_kernel", "grad_key_value_kernel"):
        recorded.append(Recorded(getattr(attention, name)))
        monkeypatch.setattr(attention, name, recorded[-1])
    with forced(TILES):
        result = with_gradients(*inputs, mask, impl="triton")
    oracle = dense_with_gradients(*inputs, mask, torch.float64)
    for name in ("out", *GRADIENTS):
        assert rmse_ratio(result[name], oracle[name]) <= RMSE_LIMIT[torch.float32], name
    return [kernel.grids[0][0] for kernel in recorded]


def test_packed_documents_shorter_than_a_tile_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten documents of 5 to 8 tokens in 64: two tiles a head, forward and backward, not ten."""
    lengths = torch.tensor([5, 8, 6, 7, 5, 8, 7, 6, 5, 7])
    starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    mask = IntervalMask.packed(cu_seqlens=starts, num_tokens=64, causal=True)
    assert check(monkeypatch, 2, 2, mask, 1) == [2 * 2] * 3


def test_heads_of_a_group_share_a_tile_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight queries of four heads are 32 rows: one program a sample and key head, not four."""
    mask = IntervalMask.padding(torch.tensor([8, 5, 3]), 8)
    assert check(monkeypatch, 4, 1, mask, 3) == [3] * 3


def test_a_padded_batch_is_a_packed_sequence_too() -> None:
    """The same memory seen as one sequence with intervals moved: fewer programs, equal results."""
    batch, size = 5, 11
    query, key, value, grad = draw(batch, size, size, 2, 2, 16)
    padded = IntervalMask.prefix_lm(torch.tensor([3, 0, 5, 2, 4]), torch.tensor([11, 4, 9, 2, 7]), size)
    moved = padded.intervals + (torch.arange(batch, dtype=torch.int32) * size)[:, None, None, None]
    moved = torch.where(padded.intervals[..., :1] < padded.intervals[..., 1:], moved, 0)
    packed = IntervalMask(moved.view(1, batch * size, -1, 2), batch * size)
    with forced(TILES):
        want = with_gradients(query, key, value, grad, padded, impl="triton")
        flat = (tensor.view(1, batch * size, 2, 16) for tensor in (query, key, value, grad))
        got = with_gradients(*flat, packed, impl="triton")
    for name in ("out", *GRADIENTS):
        torch.testing.assert_close(got[name].view(want[name].shape), want[name], rtol=1e-5, atol=1e-6)


def test_the_order_of_programs_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head by head, where a cache is too small for all heads, or tile by tile: every tile of each is there once."""
    inputs, mask = draw(3, 9, 40, 2, 1, 16, torch.bfloat16), random_mask(3, 9, 40, 2, seed=6)
    results = []
    for cache in (0, 2**25):
        monkeypatch.setattr(attention, "_cache_bytes", lambda device, cache=cache: cache)
        with forced(dict.fromkeys(KERNELS, Configuration(16, 32, 4, 1))):
            results.append(with_gradients(*inputs, mask, impl="triton"))
    assert all(torch.equal(results[0][name], results[1][name]) for name in ("out", *GRADIENTS))
