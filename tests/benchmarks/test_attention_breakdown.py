"""The shares of the attention breakdown add up, and its program counts pairs as they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.attention_breakdown import Case, compile_program, measure, shares
from benchmarks.patterns import make_pattern


def test_shares_are_parts_of_the_time() -> None:
    measured = {
        "rate": 1e9, "lanes": 16, "visible": 1000, "computed": 1200, "forward": 1e-3, "backward": 2e-3,
        "weights": 1e-6, "gradients": 2e-6,
    }  # fmt: skip
    forward = shares(measured, 64, backward=False)
    assert forward.reached == pytest.approx(2 * 64 * 1000 / 1e9 / 1e-3)
    assert forward.gflops == pytest.approx(2 * forward.reached)  # one multiply-add is two operations
    assert forward.hidden == pytest.approx(0.2 * forward.products)
    assert forward.steps == pytest.approx(1200 / 16 * 1e-6 / 1e-3)
    assert sum(forward[2:]) == pytest.approx(1.0)
    backward = shares(measured, 64, backward=True)
    assert backward.products == pytest.approx(2.5 * forward.products / 2)


@pytest.mark.skipif((os.environ.get("CXX") or shutil.which("c++")) is None, reason="no C++ compiler")
def test_the_program_counts_pairs(tmp_path: Path) -> None:
    program = compile_program(tmp_path, "-O1")
    full = measure(program, Case("full", 2, 30, 3, 16), rounds=1)
    assert full["visible"] == 2 * 30 * 30 * 3
    assert full["computed"] == 2 * 32 * 32 * 3
    mixed = measure(program, Case("mixed", 4, 90, 1, 16), rounds=1)
    assert mixed["visible"] == make_pattern("mixed", 4, 90, {}, torch.device("cpu")).pairs()
    assert mixed["visible"] < mixed["computed"] < 4 * 96 * 96
    assert min(full["rate"], full["forward"], full["backward"], full["weights"], full["gradients"]) > 0
