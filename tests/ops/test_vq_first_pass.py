"""The CPU lookup's first pass in bfloat16 decides nothing wrongly: near ties at every scale, and rounding that lies.

It runs where the machine multiplies bfloat16, from 256 codes of 32 elements upward; elsewhere these tests hold the
float32 kernels to the same.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.ops import vq_lookup
from gptface.ops.native import cpu_instruction_set
from gptface.ops.vq.cpu import cpu_missing
from tests.ops.vq_cases import METRICS, draw

pytestmark = pytest.mark.skipif(cpu_missing() is not None, reason="no native kernel")


def exact_indices(x: Tensor, codebook: Tensor, **options: Any) -> Tensor:
    return vq_lookup(x.double(), codebook.double(), impl="reference", **options).indices


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    size=st.integers(256, 330),
    length=st.integers(32, 70),
    closeness=st.integers(0, 7),
    offset=st.sampled_from([0.0, 3.0, 1000.0]),
    metric=st.sampled_from(METRICS),
    topk=st.sampled_from([1, 1, 3, 16]),
    seed=st.integers(0, 2**31),
)
def test_near_ties_at_every_scale(
    rows: int, size: int, length: int, closeness: int, offset: float, metric: Any, topk: int, seed: int
) -> None:
    """Codes that differ by 1 down to 1e-7 of their size: from clear to beyond what float32 can tell."""
    x = draw(rows, length, seed=seed, offset=offset)
    family = draw(4, length, seed=seed + 1, offset=offset).repeat(size // 4 + 1, 1)[:size]
    codebook = family + 10.0**-closeness * draw(size, length, seed=seed + 2)
    found = vq_lookup(x, codebook, metric=metric, topk=topk, impl="cpu")
    assert torch.equal(found.indices, exact_indices(x, codebook, metric=metric, topk=topk))


@pytest.mark.parametrize("topk", [1, 2])
def test_rounding_that_points_the_wrong_way(topk: int) -> None:
    """The best code loses the most to rounding and its rivals gain: bfloat16 alone takes a rival in every row."""
    length, step = 64, 2.0**-7  # of bfloat16 numbers in [1, 2)
    best = torch.full((1, length), 1.0 + 0.49 * step)  # all round down
    rivals = torch.ones(150, length)
    chosen = torch.rand(150, length, generator=torch.Generator().manual_seed(0)).argsort(-1) < length // 2
    rivals[chosen] += 0.51 * step  # half of them round up, and the truth is a quarter of a step
    codebook = torch.cat([rivals, best, -rivals, -best])  # without an offset: the codes stay where they are
    x = torch.ones(80, length) + 0.01 * draw(80, length, seed=1)
    exact = exact_indices(x, codebook, metric="dot", topk=topk)
    assert exact.reshape(80, topk)[:, 0].eq(150).all()
    if cpu_instruction_set() in ("avx512_bf16", "amx"):
        assert vq_lookup(x, codebook, metric="dot", precision="bf16", impl="cpu").indices.ne(150).all()
    assert torch.equal(vq_lookup(x, codebook, metric="dot", topk=topk, impl="cpu").indices, exact)


def test_rows_that_nobody_settles_early_are_settled_late() -> None:
    """More rows than the first pass tries before it is given up, all in doubt: whoever handles them, nothing shows."""
    length = 64
    codebook = draw(1, length, seed=2) + 1e-5 * draw(300, length, seed=3)
    x = draw(1500, length, seed=4)
    found = vq_lookup(x, codebook, impl="cpu", return_scores=True)
    assert torch.equal(found.indices, exact_indices(x, codebook))
    with_rows = vq_lookup(x, codebook, impl="cpu", return_scores=True, nearest_rows=True)
    assert torch.equal(found.scores, with_rows.scores) and torch.equal(found.counts, with_rows.counts)


def test_values_beyond_bfloat16() -> None:
    x, codebook = draw(30, 32, seed=5), draw(300, 32, seed=6)
    codebook[3, 0] = codebook[7, 1] = 3.4e38  # finite in float32, infinite in bfloat16
    x[2, 0] = -3.4e38
    assert torch.equal(vq_lookup(x, codebook, impl="cpu").indices, exact_indices(x, codebook))
