"""The examples that train with gptface's attention do learn, and the C++ one builds by itself and is right."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("name", ["transformers_attention.py", "flash_attn_varlen.py"])
def test_example_learns(name: str) -> None:
    losses = runpy.run_path(str(EXAMPLES / name))["main"]()
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10]), losses


def test_headers_in_a_cpp_program_without_torch(tmp_path: Path) -> None:
    """Portable code, for the compiler's sake: ``-O3 -march=native`` takes it ten times as long."""
    pytest.importorskip("pybind11")
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("no C++ compiler")
    program = (
        "import runpy, sys, pathlib\n"
        f"main = runpy.run_path({str(EXAMPLES / 'attention_from_cpp.py')!r})['main']\n"
        f"assert main(pathlib.Path({str(tmp_path)!r}), ('-O1', '-Wall', '-Wextra')) < 1e-5\n"
        "assert 'torch' not in sys.modules\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "warning" not in ran.stderr, ran.stderr
