"""Launch configurations as data, and the inventory of kernels; needs no GPU and compiles nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptface.kernels.attention_configurations import (
    KERNELS,
    TUNED,
    Configuration,
    Entry,
    block_d,
    configuration,
    entries,
    forced,
    read_entries,
    table_name,
)
from gptface.kernels.inventory import KERNELS as ALL_KERNELS
from gptface.kernels.inventory import source_hash

TABLES = ("sm_80", "sm_90", "sm_100", "default")


@pytest.mark.parametrize("table", TABLES)
def test_every_problem_has_a_configuration(table: str) -> None:
    for kernel in KERNELS:
        for bits in (16, 32):
            for head_dim in range(16, 257, 8):
                for rows in (1, 512, 513, 10**6):
                    chosen = configuration(kernel, table, bits, head_dim, rows)
                    assert chosen.block_m >= 16 and chosen.block_m & (chosen.block_m - 1) == 0
                    assert chosen.block_n >= 16 and chosen.block_n & (chosen.block_n - 1) == 0
                    assert max(chosen.block_m, chosen.block_n) <= 256, "offsets within a tile are checked to this"
                    assert chosen.num_warps in (4, 8)


@pytest.mark.parametrize("table", TABLES)
def test_a_short_sequence_comes_before_any(table: str) -> None:
    """The first line that fits counts, so one for any length must come last of its kind."""
    closed = set()
    for entry in entries(table):
        key = (entry.kernel, entry.bits, entry.block_d)
        assert key not in closed, f"{key} has a line after the one for any length"
        if entry.rows is None:
            closed.add(key)


def test_a_limit_on_registers_is_written_and_read_and_no_limit_is_not_written(tmp_path: Path) -> None:
    limited = Entry("forward", 16, 64, None, Configuration(128, 64, 8, 3, 128))
    free = Entry("forward", 16, 64, 512, Configuration(64, 64, 4, 3))
    assert limited.as_json()["max_registers"] == 128 and "max_registers" not in free.as_json()
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"entries": [limited.as_json(), free.as_json()]}), encoding="utf-8")
    assert read_entries(path) == (limited, free)


def test_no_table_but_these() -> None:
    assert {path.name for path in TUNED.glob("attention_*.json")} == {f"attention_{table}.json" for table in TABLES}
    for table in TABLES:
        assert json.loads((TUNED / f"attention_{table}.json").read_text())["chosen_by"]


def test_unknown_gpus_take_the_default() -> None:
    assert table_name((9, 0)) == "sm_90" and table_name((10, 3)) == "sm_100" and table_name((8, 0)) == "sm_80"
    assert {table_name(capability) for capability in ((8, 6), (8, 9), (12, 0), (13, 1))} == {"default"}


def test_head_dimensions_round_up_to_powers_of_two() -> None:
    assert [block_d(width) for width in (16, 24, 32, 40, 64, 72, 128, 136, 256)] == [
        16, 32, 32, 64, 64, 128, 128, 256, 256,
    ]  # fmt: skip


def test_a_forced_configuration_ends_with_its_block() -> None:
    usual = configuration("forward", "default", 16, 64, 100)
    other = Configuration(16, 16, 4, 1)
    with forced({"forward": other}):
        assert configuration("forward", "default", 16, 64, 100) is other
        assert configuration("grad_query", "default", 16, 64, 100) is not other
    assert configuration("forward", "default", 16, 64, 100) is usual


def test_the_inventory_names_every_matrix_kernel() -> None:
    names = {kernel for kernel in ALL_KERNELS if kernel.startswith("attention.")}
    assert names == {"attention.bounds", *(f"attention.{kernel}" for kernel in KERNELS)}
    assert all(len(source_hash(kernel, "sm_90") or "") == 64 for kernel in names)
