"""The model of the lookup at a size: by hand where the numbers are round."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.static_cost.lookup_sizes import MEMORY, lookup_sizes, nominating, products_and_argmax
from gptface.kernels.kernel_cost import MACHINES

MACHINE = MACHINES["sm_90"]
TILE = {"tensor": 100.0, "other": 300.0, "in_the_way": "memory"}
RECORD: dict[str, Any] = {
    "architecture": "sm_90", "precision": "bf16", "depth": None, "kept": 2, "blocks": 1,
    "configuration": {"block_m": 128, "block_n": 64, "block_k": 64},
    "tile": TILE, "selection": {"other": 50.0},
}  # fmt: skip


def test_every_tile_counts_with_one_pass_of_the_selection() -> None:
    cycles = 2 * 3 * 450 / MACHINE.multiprocessors  # 129 rows are two tiles, 130 codes three
    assert nominating(RECORD, 129, 130) == pytest.approx(cycles / MACHINE.clock * 1e6)


def test_programs_that_share_a_multiprocessor_share_its_busiest_unit() -> None:
    once = nominating(RECORD, 128, 64)
    assert nominating({**RECORD, "blocks": 2}, 128, 64) == pytest.approx(once * 350 / 450)
    assert nominating({**RECORD, "blocks": 2, "selection": None}, 128, 64) == pytest.approx(once * 300 / 450)


def test_torch_is_bound_by_its_products_or_by_the_scores() -> None:
    moved = 1024 * 1024 * 2 / MEMORY * 1e6
    assert products_and_argmax("sm_90", "bf16", 1024, 1024, 8) == pytest.approx(2 * moved)
    products = 1024 * 1024 * 8192 / (2048 * MACHINE.multiprocessors * MACHINE.clock) * 1e6
    assert products_and_argmax("sm_90", "bf16", 1024, 1024, 8192) == pytest.approx(products + moved)
    assert products_and_argmax("sm_90", "tf32x3", 1024, 1024, 8) is None


def test_the_shortest_line_that_fits_is_taken_and_without_lines_there_is_no_table() -> None:
    short = {**RECORD, "depth": 32, "tile": {**TILE, "in_the_way": "select"}}
    lines = [{**one, "precision": name} for one in (RECORD, short) for name in ("bf16", "tf32", "tf32x3", "ieee")]
    row = lookup_sizes(lines).splitlines()[2]
    assert row.startswith("| bf16 | ") and row.index("memory") < row.index("select")
    assert lookup_sizes(lines[4:]) == "" and lookup_sizes([]) == ""
