"""The facts behind ``gptface doctor``: versions, devices, instruction sets, implementations, proofs of GPU kernels."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import Any

import torch

import gptface
from gptface.diagnosis.kernel_states import kernel_states, ledger_notes
from gptface.ops import implementations
from gptface.ops.cpu_class import OTHER, cpu_class
from gptface.ops.native import cpu_amx_missing, cpu_instruction_set, cpu_library_missing, library_path

__all__ = ["describe_environment", "format_environment"]

PACKAGES = (
    "torch", "triton", "numpy", "transformers", "tokenizers", "accelerate", "webdataset", "pillow", "flash-attn",
    "xformers",
)
# Vector instruction sets that decide how fast an operator can be here.
INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")

AMX_RUNS = (
    "there, taken where GPTFACE_CPU_INSTRUCTION_SET=amx names them: proven on a tile unit in plain C++, but never run "
    "on a machine and never timed"
)


def _instruction_sets() -> list[str]:
    """Those of :data:`INSTRUCTION_SETS` that this CPU has; none where the system does not say (it does on Linux)."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return []
    flags: set[str] = set()
    for line in cpuinfo.read_text().splitlines():
        if line.split(":")[0].strip() in ("flags", "Features"):
            flags = set(line.split(":", 1)[1].split())
            break
    return [name for name in INSTRUCTION_SETS if name in flags]


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cpu_class() -> dict[str, str]:
    """Name and description of the machine class by which ``impl="auto"`` chooses, and the instruction set in use."""
    if cpu_library_missing() is not None:
        return {"name": OTHER.name, "description": "no native library to choose from", "instruction_set": ""}
    found = cpu_class()
    return {"name": found.name, "description": found.description, "instruction_set": cpu_instruction_set()}


def _cpu_kernels() -> dict[str, Any]:
    """What the native CPU kernels use: their instruction set, and why AMX is not to be had where it is not."""
    missing = cpu_library_missing()
    return {"instruction_set": None if missing else cpu_instruction_set(), "amx_missing": cpu_amx_missing()}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[dict[str, Any]]:
    devices: list[dict[str, Any]] = [
        {
            "type": "cpu",
            "name": _cpu_name(),
            "threads": torch.get_num_threads(),
            "instruction_sets": _instruction_sets(),
            "class": _cpu_class(),
        }
    ]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append({
            "type": "cuda",
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "capability": f"sm_{properties.major}{properties.minor}",
        })
    return devices


def describe_environment() -> dict[str, Any]:
    """Everything ``gptface doctor`` prints, as plain data."""
    return {
        "gptface": gptface.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "cpu_kernels": _cpu_kernels(),
        "native": {part: str(path) if (path := library_path(part)) else None for part in ("cpu", "cuda")},
        "implementations": [
            {"operator": entry.operator, "name": entry.name, "available": entry.available, "reason": entry.reason,
             "description": entry.description}
            for entry in implementations()
        ],
        "gpu_kernels": kernel_states(),
        "gpu_ledger_notes": ledger_notes(),
    }


def format_environment(environment: dict[str, Any]) -> str:
    """The facts of :func:`describe_environment` as text for people."""
    lines = [f"gptface {environment['gptface']}, Python {environment['python']}, {environment['platform']}", ""]
    lines.append("packages")
    for name, version in environment["packages"].items():
        lines.append(f"  {name:<14} {version or 'not installed'}")
    lines += ["", "devices"]
    for device in environment["devices"]:
        if device["type"] == "cpu":
            sets = ", ".join(device["instruction_sets"]) or "no vector instruction set that is known here"
            threads = "1 thread" if device["threads"] == 1 else f"{device['threads']} threads"
            lines.append(f"  cpu   {device['name']}, {threads}: {sets}")
            kind = device["class"]
            used = f", kernels for {kind['instruction_set']}" if kind["instruction_set"] else ""
            lines.append(f"        class {kind['name']}{used}: {kind['description']}")
        else:
            lines.append(f"  cuda  {device['name']}, {device['memory_gib']} GiB, {device['capability']}")
    if all(device["type"] == "cpu" for device in environment["devices"]):
        lines.append("  cuda  no CUDA device")
    lines += ["", "native library"]
    for part, path in environment["native"].items():
        lines.append(f"  {part:<5} {path or 'not built'}")
    kernels = environment["cpu_kernels"]
    if kernels["instruction_set"]:
        lines.append(f"  in use: {kernels['instruction_set']} (GPTFACE_CPU_INSTRUCTION_SET names another one)")
        lines.append(f"  AMX tiles, for attention in bfloat16: {kernels['amx_missing'] or AMX_RUNS}")
    lines += ["", "operator implementations"]
    for entry in environment["implementations"]:
        state = "runs here" if entry["available"] else f"cannot run here: {entry['reason']}"
        lines.append(f"  {entry['operator']:<18} {entry['name']:<10} {state}")
        lines.append(f"  {'':<18} {'':<10} {entry['description']}")
    lines += ["", "GPU kernels, by the ledger of proofs (gptface prove)"]
    lines += [f"  {name:<28} {state}" for name, state in environment["gpu_kernels"].items()]
    lines += [f"  {note}" for note in environment["gpu_ledger_notes"]]
    return "\n".join(lines)
