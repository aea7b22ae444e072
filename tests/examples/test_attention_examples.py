"""The examples that train with gptface's attention do learn."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("name", ["transformers_attention.py", "flash_attn_varlen.py"])
def test_example_learns(name: str) -> None:
    losses = runpy.run_path(str(EXAMPLES / name))["main"]()
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10]), losses
