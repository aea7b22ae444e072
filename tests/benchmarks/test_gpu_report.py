"""The script of a GPU run is sound, and what it carries is complete."""

from __future__ import annotations

import os
import subprocess

import pytest

from benchmarks.machine import ROOT


def test_report_script_is_sound_and_says_how_it_is_used() -> None:
    script = ROOT / "benchmarks" / "gpu_report.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "OUT"}
    done = subprocess.run([str(script)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "OUT=folder benchmarks/gpu_report.sh" in done.stderr


def test_carried_packages_are_complete_and_leave_torch_to_the_image() -> None:
    from benchmarks.carried_packages import carried

    try:
        found = carried()
    except SystemExit as missing:  # an environment without the extras, such as one that only tests the operators
        pytest.skip(str(missing))
    assert {"transformers", "tokenizers", "pydantic", "pydantic-core", "pillow", "pytest", "hypothesis"} <= set(found)
    assert not {"torch", "triton", "numpy", "gptface"} & set(found)
    assert not any(name.startswith("nvidia") for name in found)
