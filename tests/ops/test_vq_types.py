"""What a type checker knows of a quantizer's call, where ``nn.Module`` says Any."""

from __future__ import annotations

from pathlib import Path

import pytest

PROGRAM = """
from typing import assert_type
import torch
from gptface.ops import QuantizerOutput, ResidualQuantizerOutput, ResidualVectorQuantizer, VectorQuantizer
assert_type(VectorQuantizer(8, 4)(torch.zeros(2, 8)), QuantizerOutput)
assert_type(ResidualVectorQuantizer(8, 4, 2)(torch.zeros(2, 8)), ResidualQuantizerOutput)
"""


@pytest.mark.slow
def test_the_call_of_a_quantizer_has_a_type(tmp_path: Path) -> None:
    checker = pytest.importorskip("mypy.api")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    flags = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    report, errors, code = checker.run([*flags, f"--cache-dir={tmp_path / 'cache'}", str(tmp_path / "program.py")])
    assert code == 0, report + errors
