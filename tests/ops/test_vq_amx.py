"""The lookup's first pass by AMX tiles, on a tile unit in plain C++: the same indices; and its machine code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gptface.ops import vq_lookup
from gptface.ops.vq.cpu import cpu_missing
from tests.helpers.instruction_sets import TILE_SETS, under_instruction_set
from tests.helpers.machine_code import count, disassembled, loops
from tests.ops.vq_cases import METRICS, draw

pytestmark = pytest.mark.skipif(cpu_missing() is not None, reason="no native kernel")


@pytest.fixture(params=TILE_SETS)
def tiles(request: pytest.FixtureRequest) -> Iterator[str]:
    with under_instruction_set(request.param) as name:
        yield name


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("rows", "size", "length", "topk"),
    [(1, 256, 32, 1), (31, 257, 33, 1), (33, 300, 64, 3), (150, 289, 70, 1), (97, 336, 100, 16), (40, 256, 256, 1)],
)
@pytest.mark.parametrize("closeness", [1.0, 1e-3, 1e-6])
def test_indices_are_those_of_float64(
    tiles: str, metric: Any, rows: int, size: int, length: int, topk: int, closeness: float
) -> None:
    """From codes far apart to codes that bfloat16, and then float32, cannot tell from one another."""
    x = draw(rows, length, seed=1, offset=3.0)
    family = draw(4, length, seed=2, offset=3.0).repeat(size // 4 + 1, 1)[:size]
    codebook = family + closeness * draw(size, length, seed=3)
    found = vq_lookup(x, codebook, metric=metric, topk=topk, impl="cpu")
    exact = vq_lookup(x.double(), codebook.double(), metric=metric, topk=topk, impl="reference")
    assert torch.equal(found.indices, exact.indices)


def test_a_bad_row_or_code_is_no_other_rows_affair(tiles: str) -> None:
    x, codebook = draw(70, 64, seed=4), draw(300, 64, seed=5)
    clean = vq_lookup(x, codebook, return_scores=True, impl="cpu")
    x[3, 7], x[40, 0] = float("nan"), float("inf")
    codebook[clean.indices[0], 5] = float("nan")
    found = vq_lookup(x, codebook, return_scores=True, impl="cpu")
    exact = vq_lookup(x, codebook, return_scores=True, impl="reference")
    assert torch.equal(found.indices, exact.indices)
    assert torch.equal(found.scores.isnan(), exact.scores.isnan())


@pytest.mark.parametrize("topk", [1, 2])
def test_bfloat16_alone_ranks_by_its_own_sums(tiles: str, topk: int) -> None:
    """A second look at a row, where codes tie, has the same sums as the first."""
    x, codebook = draw(60, 64, seed=6), draw(64, 64, seed=7).repeat(5, 1)
    found = vq_lookup(x, codebook, topk=topk, precision="bf16", impl="cpu")
    again = vq_lookup(x, codebook, topk=topk, precision="bf16", impl="cpu")
    assert torch.equal(found.indices, again.indices)
    first = found.indices if topk == 1 else found.indices[:, 0]
    assert (first < 64).all()  # ties go to the lowest index
    if topk == 2:
        assert torch.equal(found.indices[:, 1], first + 64)


def test_six_products_of_tiles_cost_seven_loads() -> None:
    bodies = [body for code in disassembled(r"VQTileProducts\w*3Amx\w*multiply_tiles") for body in loops(code)]
    assert (7, 6) in [(count(body, "tileloadd"), count(body, "tdpbf16ps")) for body in bodies]
    assert not any(count(body, "tilestored") for body in bodies)
