"""Bounds of row and key blocks: sound for every mask, and tight for the masks that people use."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.kernels.attention import block_bounds
from gptface.ops import IntervalMask
from tests.ops.attention_cases import random_mask

BLOCK = 64


def assert_sound(mask: IntervalMask) -> None:
    """What is visible lies in a hull; what lies in a core is visible. Nothing else is needed for right results."""
    rows, columns = block_bounds(mask.intervals, mask.num_keys)
    dense = mask.to_dense()
    for sample in range(dense.shape[0]):
        for block in range(rows.shape[1]):
            seen = dense[sample, block * BLOCK : (block + 1) * BLOCK]
            in_hull = torch.zeros(mask.num_keys, dtype=torch.bool)
            for low, high, core_low, core_high in rows[sample, block].tolist():
                in_hull[low : max(low, high)] = True
                assert seen[:, core_low : max(core_low, core_high)].all()
            assert not seen[:, ~in_hull].any()
        for block in range(columns.shape[1]):
            seen = dense[sample, :, block * BLOCK : (block + 1) * BLOCK]
            in_hull = torch.zeros(mask.num_queries, dtype=torch.bool)
            for low, high, core_low, core_high in columns[sample, block].tolist():
                in_hull[low * BLOCK : max(low, high) * BLOCK] = True
                assert core_low >= core_high or core_high * BLOCK <= mask.num_queries, "a core has no row past the end"
                assert core_low >= core_high or low <= core_low <= core_high <= high
                assert seen[core_low * BLOCK : max(core_low, core_high) * BLOCK].all()
            assert not seen[~in_hull].any()


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 2), st.integers(1, 150), st.integers(1, 150), st.integers(1, 2), st.integers(0, 2**31))
def test_sound_for_random_masks(batch: int, queries: int, keys: int, k: int, seed: int) -> None:
    assert_sound(random_mask(batch, queries, keys, k, seed))


def test_sound_for_odd_intervals() -> None:
    """Upside down, out of range, overlapping, in the wrong order."""
    patterns = [[[5, 2], [0, 3]], [[-4, 2], [1, 199]], [[70, 400], [-9, -3]], [[30, 60], [20, 50]], [[90, 99], [-5, 9]]]
    rows = [patterns[i // 30 % 5] for i in range(150)]
    assert_sound(IntervalMask(torch.tensor([rows], dtype=torch.int32), 100))


@pytest.mark.parametrize(
    "mask",
    [
        IntervalMask.shared_prefix(torch.tensor([[0] * 70 + [1] * 50 + [2] * 60 + [-1] * 20])),
        IntervalMask.sliding_window(200, 30, 30, global_tokens=4, symmetric=True),
        IntervalMask.multimodal(
            torch.tensor([[0] * 90 + [1] * 110]), torch.tensor([[-1] * 20 + [0] * 64 + [-1] * 116])
        ),
        IntervalMask.padding(torch.tensor([0, 77, 200]), 200),
    ],
    ids=["shared prefix", "window", "multimodal", "padding"],
)
def test_sound_for_constructors(mask: IntervalMask) -> None:
    assert_sound(mask)


def test_causal_bounds_are_tight() -> None:
    rows, columns = block_bounds(IntervalMask.causal(200).intervals, 200)
    assert rows[0, :, 0].tolist() == [[0, 64, 0, 1], [0, 128, 0, 65], [0, 192, 0, 129], [0, 200, 0, 193]]
    # Key block n: row blocks n to 3 see it; those after n see all of it, if they have no row past the end.
    assert columns[0, :, 0].tolist() == [[0, 4, 1, 3], [1, 4, 2, 3], [2, 4, 4, 4], [3, 4, 4, 4]]


def test_packed_documents_touch_only_their_own_blocks() -> None:
    mask = IntervalMask.packed(cu_seqlens=torch.tensor([0, 128, 192, 320]), num_tokens=320)
    rows, columns = block_bounds(mask.intervals, 320)
    assert rows[0, :, 0, :2].tolist() == [[0, 128], [0, 128], [128, 192], [192, 320], [192, 320]]
    assert columns[0, :, 0].tolist() == [[0, 2, 0, 2], [0, 2, 0, 2], [2, 3, 2, 3], [3, 5, 3, 5], [3, 5, 3, 5]]


def test_symmetric_window_keeps_global_rows_and_window_apart() -> None:
    """Both in one hull would make the gradients of keys visit every row."""
    mask = IntervalMask.sliding_window(640, 32, 32, global_tokens=8, symmetric=True)
    _, columns = block_bounds(mask.intervals, 640)
    assert columns[0, 7, :, :2].tolist() == [[0, 1], [6, 9]]


def test_many_blocks_are_scanned_in_chunks() -> None:
    mask = IntervalMask.causal(64 * 70)
    _, columns = block_bounds(mask.intervals, 64 * 70)
    assert columns[0, 66, 0].tolist() == [66, 70, 67, 70]
    assert columns[0, 3, 0].tolist() == [3, 70, 4, 70]
