"""Run the GPU tests and write down which kernels passed, on which GPU, from which source.

    python -m benchmarks.gpu_ledger --output benchmarks/results/gpu_ledger.json

A kernel passes where at least one GPU test of its operator ran and none failed. Nothing is written without a GPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import RESULTS, ROOT, commit
from gptface.diagnosis.gpu_ledger import gpu_kernels, ledger_states, read_ledger
from gptface.files import atomic_write

__all__ = ["count_outcomes", "main", "merge_records"]


def count_outcomes(junit: str) -> dict[str, Counter[str]]:
    """Test module -> how many of its tests passed, failed and were skipped, from pytest's JUnit file."""
    found: dict[str, Counter[str]] = {}
    for test in ElementTree.fromstring(junit).iter("testcase"):
        tags = {child.tag for child in test}
        outcome = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        found.setdefault(test.get("classname") or "", Counter())[outcome] += 1
    return found


def _tests_of(kernel: str, outcomes: Mapping[str, Counter[str]]) -> Counter[str]:
    """The outcomes of the tests of a kernel's operator: those in modules named ``test_<operator>…``."""
    operator = kernel.split(".")[0]
    total: Counter[str] = Counter()
    for module, counts in outcomes.items():
        if any(part.startswith(f"test_{operator}") for part in module.split(".")):
            total += counts
    return total


def merge_records(
    ledger: Mapping[str, Mapping[str, Any]],
    kernels: Mapping[str, str],
    outcomes: Mapping[str, Counter[str]],
    run: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """The ledger after a run: new records for kernels whose tests ran, the old ones for the rest.

    Records of kernels that are gone are dropped.
    """
    merged: dict[str, dict[str, Any]] = {}
    for name, source_hash in sorted(kernels.items()):
        tests = _tests_of(name, outcomes)
        if tests["passed"] + tests["failed"] > 0:
            outcome = "failed" if tests["failed"] else "passed"
            counts = {kind: tests[kind] for kind in ("passed", "failed", "skipped")}
            merged[name] = {"source_hash": source_hash, "outcome": outcome, **run, "tests": counts}
        elif name in ledger:
            merged[name] = dict(ledger[name])
    return merged


def _check_build(built_from: Path | None, kernels: Mapping[str, str]) -> str | None:
    """Whether a library that was carried here as a wheel is made of the present sources; the reason where it is not."""
    if built_from is None:
        return None
    recorded = json.loads(built_from.read_text(encoding="utf-8"))
    changed = sorted(name for name in kernels if recorded.get(name) != kernels[name])
    return f"the wheel was built from other sources of {', '.join(changed)}: build it anew" if changed else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_ledger",
        description="Run the GPU tests and record, for each GPU kernel, the hash of its source, the GPU, the date and "
        "the outcome. Written only here, and only where a GPU ran them.",
        epilog="example: python -m benchmarks.gpu_ledger --tests tests/ops",
    )
    parser.add_argument("--tests", default="tests", help="where the tests are (default tests)")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu_ledger.json", help="the ledger")
    parser.add_argument("--built-from", type=Path, help="hashes that were written when the wheel was built")
    parser.add_argument("--hashes", action="store_true", help="print the hashes of the present sources and stop")
    parser.add_argument("--list", action="store_true", help="print what the ledger says of every kernel and stop")
    parsed = parser.parse_args(arguments)
    kernels = gpu_kernels(ROOT)
    if parsed.hashes:
        print(json.dumps(kernels, indent=1))
        return 0
    if parsed.list:
        for name, state in ledger_states(kernels, read_ledger(parsed.output)).items():
            print(f"{name}: {state}")
        return 0
    if not torch.cuda.is_available():
        print("gpu_ledger: no CUDA device: nothing is recorded where nothing ran", file=sys.stderr)
        return 2
    problem = _check_build(parsed.built_from, kernels)
    if problem is not None:
        print(f"gpu_ledger: {problem}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", f"--junitxml={report}", parsed.tests]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if not report.is_file():
            print(f"gpu_ledger: pytest ended with {code} and wrote no report", file=sys.stderr)
            return 1
        outcomes = count_outcomes(report.read_text(encoding="utf-8"))
    properties = torch.cuda.get_device_properties(0)
    run = {
        "gpu": properties.name,
        "capability": f"sm_{properties.major}{properties.minor}",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "commit": commit()["id"],
    }
    merged = merge_records(read_ledger(parsed.output), kernels, outcomes, run)
    with atomic_write(parsed.output) as temporary:
        temporary.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    for name, state in ledger_states(kernels, merged).items():
        print(f"{name}: {state}")
    return 1 if code not in (0, 5) else 0


if __name__ == "__main__":
    sys.exit(main())
