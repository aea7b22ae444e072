"""The ledger records what ran, where, and from which source; doctor says so."""

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
from gptface.diagnosis.environment import describe_environment, format_environment
from gptface.diagnosis.gpu_ledger import gpu_kernels, ledger_states, read_ledger

RUN = {"gpu": "NVIDIA H200", "capability": "sm_90", "date": "2026-11-21", "torch": "2.13.0", "commit": "abc"}
JUNIT = """<testsuites><testsuite>
<testcase classname="tests.ops.test_attention_gpu" name="a" />
<testcase classname="tests.ops.test_attention_gpu" name="b"><skipped/></testcase>
<testcase classname="tests.ops.test_span_mask_gpu" name="c"><failure/></testcase>
<testcase classname="tests.ops.test_span_mask_gpu" name="d" />
</testsuite></testsuites>"""


def checkout(root: Path) -> Path:
    """Two CUDA sources of which one includes a header that includes another, and a Triton kernel with a neighbour."""
    for name, text in {
        "csrc/cuda/span_mask.cu": "#include <gptface/outer.h>\n",
        "csrc/cuda/vq.cu": "// alone\n",
        "csrc/include/gptface/outer.h": '#include "inner.h"\n#include <vector>\n',
        "csrc/include/gptface/inner.h": "// inner\n",
        "kernels/vq_lookup.py": "import triton\nfrom gptface.kernels.tiles import size\n\n@triton.jit\ndef k(): ...\n",
        "kernels/tiles.py": "size = 1\n",
        "kernels/plain.py": "pass\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def own(kernels: dict[str, str]) -> dict[str, str]:
    """Those of :func:`checkout`: the installed package's inventory comes on top."""
    return {name: value for name, value in kernels.items() if name in ("span_mask.cuda", "vq.cuda", "vq_lookup.triton")}


@pytest.mark.parametrize(
    ("changed", "affected"),
    [
        ("csrc/cuda/vq.cu", {"vq.cuda"}),
        ("csrc/include/gptface/inner.h", {"span_mask.cuda"}),
        ("kernels/tiles.py", {"vq_lookup.triton"}),
        ("kernels/plain.py", set()),
    ],
)
def test_hash_changes_with_what_the_kernel_is_made_of(tmp_path: Path, changed: str, affected: set[str]) -> None:
    root = checkout(tmp_path)
    before = own(gpu_kernels(root))
    assert set(before) == {"span_mask.cuda", "vq.cuda", "vq_lookup.triton"}
    (root / changed).write_text((root / changed).read_text() + "# changed\n")
    after = own(gpu_kernels(root))
    assert {name for name in before if before[name] != after[name]} == affected


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


def test_states_tell_passed_failed_changed_and_never_run() -> None:
    record = {"source_hash": "1", "outcome": "passed", **RUN}
    ledger = {"a.cuda": record, "b.cuda": {**record, "outcome": "failed"}, "c.cuda": record}
    states = ledger_states({"a.cuda": "1", "b.cuda": "1", "c.cuda": "2", "d.cuda": "1"}, ledger)
    assert states == {
        "a.cuda": "passed on NVIDIA H200 on 2026-11-21",
        "b.cuda": "failed on NVIDIA H200 on 2026-11-21",
        "c.cuda": "its source has changed since it passed on NVIDIA H200 on 2026-11-21",
        "d.cuda": "has never run on a GPU",
    }


def test_doctor_lists_every_cuda_source() -> None:
    text = format_environment(describe_environment())
    for source in (ROOT / "csrc" / "cuda").glob("*.cu"):
        assert f"{source.stem}.cuda" in text


def test_committed_ledger_names_kernels_that_exist() -> None:
    for name, record in read_ledger(ROOT / "benchmarks" / "results" / "gpu_ledger.json").items():
        assert name in gpu_kernels(ROOT)
        assert {"source_hash", "outcome", "gpu", "date", "tests"} <= set(record)


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


def test_kernels_of_an_inventory_have_its_names_and_hashes(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (root / "kernels" / "inventory.py").write_text(
        "from dataclasses import dataclass\n\n"
        "@dataclass(frozen=True)\nclass KernelSource:\n    name: str\n    source_hash: str\n    files: tuple\n\n"
        "def kernels():\n    return (KernelSource('vq.scan', 'abc', ('vq_lookup.py',)),)\n"
    )
    found = gpu_kernels(root)
    assert found["vq.scan"] == "abc"
    assert "vq_lookup.triton" not in found


def test_carried_packages_are_complete_and_leave_torch_to_the_image() -> None:
    from benchmarks.carried_packages import carried

    try:
        found = carried()
    except SystemExit as missing:  # an environment without the extras, such as one that only tests the operators
        pytest.skip(str(missing))
    assert {"transformers", "tokenizers", "pydantic", "pydantic-core", "pillow", "pytest", "hypothesis"} <= set(found)
    assert not {"torch", "triton", "numpy", "gptface"} & set(found)
    assert not any(name.startswith("nvidia") for name in found)
