"""Where and with what a result was measured: machine, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

from gptface.diagnosis.environment import describe_environment

__all__ = ["RESULTS", "ROOT", "commit", "describe_machine", "machine_class", "versions"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = (
    "torch", "triton", "numpy", "transformers", "webdataset", "xformers", "flash-attn", "flash-attn-3", "flash-attn-4",
    "faiss-cpu", "faiss-gpu", "flash-kmeans", "vector-quantize-pytorch",
)  # fmt: skip


def describe_machine(device: str) -> dict[str, Any]:
    """Processor, cores, vector instruction sets, memory, and the GPU if it is the one measured."""
    devices = describe_environment()["devices"]
    processor = devices[0]
    found: dict[str, Any] = {
        "processor": processor["name"],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instruction_sets": processor["instruction_sets"],
        "memory_gib": _memory_gib(),
        "system": platform.system(),
        "gpu": None,
    }
    if device == "cuda":
        gpu = next(entry for entry in devices if entry["type"] == "cuda")
        found["gpu"] = {"name": gpu["name"], "memory_gib": gpu["memory_gib"], "capability": gpu["capability"]}
    return {"class": machine_class(found), **found}


def machine_class(machine: dict[str, Any]) -> str:
    """The folder of the results: the GPU's name, or processor, widest instruction set and number of cores."""
    if machine["gpu"] is not None:
        return _slug(machine["gpu"]["name"])
    widest = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "sve", "asimd")
    wide = [name for name in widest if name in machine["instruction_sets"]]
    return _slug("-".join([machine["processor"], *wide[:1], f"{machine['cores']} cores"]))


def _slug(text: str) -> str:
    text = re.sub(r"\(r\)|\(tm\)|@.*?ghz|\bcpu\b|\bprocessor\b", " ", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def versions() -> dict[str, str | None]:
    """Versions of Python, this package and everything that may be a peer; ``None`` where not installed."""
    environment = describe_environment()
    found: dict[str, str | None] = {"python": environment["python"], "gptface": environment["gptface"]}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    found["cuda"] = torch.version.cuda
    return found


def commit() -> dict[str, Any]:
    """``id`` of the commit and whether the sources differ from it; ``GPTFACE_COMMIT`` where git knows of none."""
    try:
        identity = _git("rev-parse", "HEAD")
        # Results that are being written are no change of the sources.
        sources = (".", ":!benchmarks/results", ":!README.md")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *sources)
    except (OSError, subprocess.CalledProcessError):
        return {"id": os.environ.get("GPTFACE_COMMIT", "unknown"), "modified": None}
    return {"id": identity, "modified": bool(changed)}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
