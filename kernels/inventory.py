"""Which Triton kernels there are, a hash of what each is made of, and which of them have passed on a GPU.

Imports no triton: the hash is of source text. The ledger, ``benchmarks/results/gpu_ledger.json`` in a checkout, is
written only by the program that ran the GPU tests on a GPU::

    {"attention.forward": {"source_hash": "…", "outcome": "passed", "gpu": "…", "date": "…"}, …}
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gptface

__all__ = ["LEDGER", "KernelSource", "kernels", "unproven"]

_HERE = Path(__file__).resolve().parent
LEDGER = Path(gptface.__file__).resolve().parent.parent / "benchmarks" / "results" / "gpu_ledger.json"

_SHARED = ("attention.py", "attention_device.py", "attention_bounds.py", "attention_configurations.py")
_CONTAINMENT = "attention_containment.py"
_VQ_SHARED = ("attention_configurations.py", "vq.py", "vq_configurations.py")
_FILES = {
    "attention.bounds": _SHARED,
    "attention.forward": (*_SHARED, _CONTAINMENT, "attention_forward.py"),
    "attention.grad_query": (*_SHARED, _CONTAINMENT, "attention_forward.py", "attention_backward.py"),
    "attention.grad_key_value": (*_SHARED, _CONTAINMENT, "attention_backward_keys.py"),
    "vq.nominate": (*_VQ_SHARED, "attention_device.py", "vq_nominate.py"),
    "vq.decide": (*_VQ_SHARED, "vq_decide.py"),
}


@dataclass(frozen=True)
class KernelSource:
    """One kernel as the ledger knows it.

    Attributes:
        name: ``operator.kernel``.
        source_hash: SHA-256 of the files that it and its launcher are written in.
        files: those files, in :mod:`gptface.kernels`.
    """

    name: str
    source_hash: str
    files: tuple[str, ...]


@functools.cache
def kernels() -> tuple[KernelSource, ...]:
    """Every Triton kernel of the package."""
    found = []
    for name, files in _FILES.items():
        digest = hashlib.sha256()
        for file in files:
            digest.update((_HERE / file).read_bytes())
        found.append(KernelSource(name, digest.hexdigest(), files))
    return tuple(found)


def unproven(operator: str, ledger: Path = LEDGER) -> str | None:
    """``None`` where every kernel of ``operator``, as its source is now, has passed on a GPU; else the reason."""
    records: dict[str, Any] = json.loads(ledger.read_text(encoding="utf-8")) if ledger.exists() else {}
    lacking = []
    for kernel in kernels():
        if kernel.name.split(".")[0] == operator:
            record = records.get(kernel.name, {})
            if record.get("source_hash") != kernel.source_hash or record.get("outcome") != "passed":
                lacking.append(kernel.name)
    if not lacking:
        return None
    return f"no record that its present source has passed on a GPU ({', '.join(lacking)})"
