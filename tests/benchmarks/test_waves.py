"""Programs placed on multiprocessors: cases whose end is known."""

from __future__ import annotations

import pytest
import torch

from benchmarks.static_cost.waves import HEADS, LENGTH, Program, mixed_batch, programs, simulate, tiles_of


def test_equal_programs_come_in_waves() -> None:
    alone = Program(alone=100.0, busy=50.0)
    assert simulate([alone] * 4, blocks=1, multiprocessors=2) == pytest.approx(200)
    assert simulate([alone] * 5, blocks=1, multiprocessors=2) == pytest.approx(300)
    # Two at a time share the unit without either waiting; four take the unit's own time.
    assert simulate([alone] * 4, blocks=2, multiprocessors=2) == pytest.approx(100)
    assert simulate([alone] * 4, blocks=4, multiprocessors=1) == pytest.approx(200)


def test_programs_share_the_busiest_unit_and_nothing_else() -> None:
    assert simulate([Program(100, 100), Program(200, 200)], blocks=2, multiprocessors=1) == pytest.approx(300)
    assert simulate([Program(300, 0), Program(10, 10)], blocks=2, multiprocessors=1) == pytest.approx(300)
    # Side by side until the first of them ends; the third then waits for nobody.
    assert simulate([Program(100, 80), Program(100, 80), Program(50, 10)], 2, 1) == pytest.approx(210)


def test_heavy_programs_first_end_sooner() -> None:
    light, heavy = Program(10, 10), Program(100, 100)
    assert simulate([heavy, *[light] * 10], 1, 2) == pytest.approx(100)
    assert simulate([*[light] * 10, heavy], 1, 2) == pytest.approx(150)


def test_tiles_are_full_partial_or_left_out() -> None:
    causal = torch.ones(1, 8, 8).tril().bool()
    assert tiles_of(causal, 4, 4) == [[(0, 1), (1, 1)]]
    assert tiles_of(causal[:, :7], 4, 4) == [[(0, 1), (0, 2)]], "a tile with rows past the end is not full"
    assert tiles_of(causal, 8, 2) == [[(0, 4)]]


def test_the_mixed_batch_has_a_program_for_every_tile_of_every_head() -> None:
    visible = mixed_batch()
    assert visible.shape == (8, LENGTH, LENGTH)
    cost = {"tensor": 1.0, "other": 2.0, "in_order": 3.0}
    record = {
        "kernel": "forward", "configuration": {"block_m": 64, "block_n": 64}, "full": cost, "partial": cost,
    }  # fmt: skip
    by_tile, by_head = (programs(record, visible, HEADS, order) for order in (True, False))
    assert len(by_tile) == 8 * HEADS * 6 and sorted(by_tile) == sorted(by_head)
    assert by_tile[0] == by_head[0] and by_tile[1] == by_head[6]
