"""Where Triton kernels can run; whether ``impl="auto"`` may take them is said in ``proofs``. Imports no triton."""

from __future__ import annotations

import functools
import importlib.util

import torch

from gptface.ops.proofs import interpreter_problem, interpreting
from gptface.ops.tracing import constant_in_traces

__all__ = ["missing", "unsupported_device"]

_INSTALLED = importlib.util.find_spec("triton") is not None  # finds it, does not import it


@constant_in_traces
@functools.cache
def missing() -> str | None:
    """``None`` where Triton kernels can run on this machine, else why not."""
    if not _INSTALLED:
        return "triton is not installed"
    if interpreting():
        return interpreter_problem()
    return None if torch.cuda.is_available() else "no CUDA device"


@functools.cache
def _capability(index: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


@constant_in_traces
def unsupported_device(device_type: str, device_index: int) -> str | None:
    """Why the kernels cannot run on tensors of this device; ``None`` where they can."""
    reason = missing()
    if reason is not None:
        return reason
    if interpreting():
        return None if device_type == "cpu" else "Triton's interpreter takes CPU tensors"
    if device_type != "cuda":
        return f"it takes tensors on a CUDA device, not on {device_type}"
    if torch.version.hip is not None:
        return "it has been made for NVIDIA GPUs only"
    if _capability(device_index) < (8, 0):
        return "the GPU is older than compute capability 8.0"
    return None
