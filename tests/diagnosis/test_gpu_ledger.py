"""The ledger's reader: kernels by what they are made of, and what is known of each in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptface.diagnosis.gpu_ledger import gpu_kernels, ledger_states, read_ledger

ROOT = Path(__file__).resolve().parents[2]
RUN = {"gpu": "NVIDIA H200", "capability": "sm_90", "date": "2026-11-21", "torch": "2.13.0", "commit": "abc"}


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


def test_committed_ledger_names_kernels_that_exist() -> None:
    for name, record in read_ledger(ROOT / "benchmarks" / "results" / "gpu_ledger.json").items():
        assert name in gpu_kernels(ROOT)
        assert {"source_hash", "outcome", "gpu", "date", "tests"} <= set(record)
