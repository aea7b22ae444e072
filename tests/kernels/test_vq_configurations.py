"""Launch configurations of the lookup as data; needs no GPU and compiles nothing."""

from __future__ import annotations

import itertools
import json

import pytest

from gptface.kernels.attention_configurations import TUNED
from gptface.kernels.vq_configurations import (
    MOST_KEPT,
    PRECISIONS,
    Configuration,
    code_splits,
    configuration,
    depth_block,
    entries,
    forced,
)

TABLES = ("sm_80", "sm_90", "sm_100", "default")


@pytest.mark.parametrize("table", TABLES)
def test_every_problem_has_a_configuration(table: str) -> None:
    for precision, width, kept in itertools.product(PRECISIONS, (4, 32, 33, 64, 100, 128, 256, 1000), (1, 2, 3, 17)):
        chosen = configuration(table, precision, width, kept)
        assert min(chosen.block_m, chosen.block_n, chosen.block_k) >= 16 and chosen.num_warps in (4, 8)
        block = depth_block(chosen.block_k, width)
        assert block >= 16 and block & (block - 1) == 0


@pytest.mark.parametrize("table", TABLES)
def test_no_line_stands_behind_one_that_takes_its_problems(table: str) -> None:
    lines = entries(table)
    for place, line in enumerate(lines):
        for before in lines[:place]:
            same = before.precision == line.precision
            deeper = before.depth is None or (line.depth is not None and line.depth <= before.depth)
            more = before.kept is None or (line.kept is not None and line.kept <= before.kept)
            assert not (same and deeper and more), f"{line} is never reached behind {before}"


def test_no_table_but_these() -> None:
    assert {path.name for path in TUNED.glob("vq_*.json")} == {f"vq_{table}.json" for table in TABLES}
    for table in TABLES:
        assert json.loads((TUNED / f"vq_{table}.json").read_text())["chosen_by"]


def test_few_rows_are_spread_and_many_are_not() -> None:
    assert code_splits(programs=1000, code_tiles=128, kept=2, multiprocessors=132) == 1
    assert code_splits(programs=64, code_tiles=128, kept=2, multiprocessors=132) == 5
    assert code_splits(programs=1, code_tiles=3, kept=1, multiprocessors=132) == 1
    for programs, tiles, kept in itertools.product((1, 7, 300), (1, 4, 2048), (1, 2, 17)):
        assert 1 <= code_splits(programs, tiles, kept, 132) * kept <= MOST_KEPT


def test_a_forced_configuration_ends_with_its_block() -> None:
    usual, other = configuration("default", "ieee", 64, 2), Configuration(16, 16, 16, 4, 1)
    with forced(other, splits=2):
        assert configuration("default", "ieee", 64, 2) is other
        assert code_splits(1, 8, 2, 1) == 2
    assert configuration("default", "ieee", 64, 2) is usual
