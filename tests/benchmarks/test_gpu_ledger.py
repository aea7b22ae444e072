"""The ledger records what ran, where, and from which source; the scripts of a GPU run are sound."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_ledger import count_outcomes, main, merge_records
from benchmarks.machine import ROOT
from gptface.diagnosis.gpu_ledger import gpu_kernels

RUN = {"gpu": "NVIDIA H200", "capability": "sm_90", "date": "2026-11-21", "torch": "2.13.0", "commit": "abc"}
JUNIT = """<testsuites><testsuite>
<testcase classname="tests.ops.test_attention_gpu" name="a" />
<testcase classname="tests.ops.test_attention_gpu" name="b"><skipped/></testcase>
<testcase classname="tests.ops.test_span_mask_gpu" name="c"><failure/></testcase>
<testcase classname="tests.ops.test_span_mask_gpu" name="d" />
</testsuite></testsuites>"""


def test_outcomes_are_read_from_pytests_report() -> None:
    assert count_outcomes(JUNIT) == {
        "tests.ops.test_attention_gpu": Counter(passed=1, skipped=1),
        "tests.ops.test_span_mask_gpu": Counter(passed=1, failed=1),
    }


def test_kernel_passes_where_its_tests_ran_and_none_failed() -> None:
    kernels = {"attention.forward": "1", "span_mask.cuda": "2", "vq_lookup.triton": "3", "vq.cuda": "4"}
    old = {"vq_lookup.triton": {"source_hash": "0", "outcome": "passed", **RUN}, "gone.cuda": {"outcome": "passed"}}
    merged = merge_records(old, kernels, count_outcomes(JUNIT), RUN)
    assert merged["attention.forward"]["outcome"] == "passed"
    assert merged["attention.forward"]["tests"] == {"passed": 1, "failed": 0, "skipped": 1}
    assert merged["span_mask.cuda"]["outcome"] == "failed"
    assert merged["vq_lookup.triton"] == old["vq_lookup.triton"], "kept where no test of it ran"
    assert "vq.cuda" not in merged, "no test ran and none ever had"
    assert "gone.cuda" not in merged


def test_only_skipped_tests_record_nothing() -> None:
    junit = '<testsuite><testcase classname="tests.ops.test_vq_gpu" name="a"><skipped/></testcase></testsuite>'
    assert merge_records({}, {"vq.cuda": "1"}, count_outcomes(junit), RUN) == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_gpu_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path / "ledger.json")]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "ledger.json").exists()


def test_wheel_of_other_sources_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    hashes = tmp_path / "kernels.json"
    hashes.write_text(json.dumps(dict.fromkeys(gpu_kernels(ROOT), "another")))
    assert main(["--built-from", str(hashes), "--output", str(tmp_path / "ledger.json")]) == 2
    assert "other sources of" in capsys.readouterr().err


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
