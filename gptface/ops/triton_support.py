"""Where an operator's Triton kernels can run, and whether ``impl="auto"`` may take them. Imports no triton."""

from __future__ import annotations

import functools
import importlib.util
import os

import torch

from gptface.ops.tracing import constant_in_traces

__all__ = ["missing", "unproven", "unsupported_device"]

_INSTALLED = importlib.util.find_spec("triton") is not None  # finds it, does not import it


def _interpreting() -> bool:
    """Triton reads this when the kernels are imported; it makes them run on CPU tensors, slowly, for tests."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def _not_recorded(operator: str) -> str | None:
    from gptface.kernels.inventory import unproven as unproven_kernels

    return unproven_kernels(operator)


@constant_in_traces
@functools.cache
def missing(operator: str) -> str | None:
    """``None`` where the kernels of ``operator`` (its name in the inventory) can run on this machine, else why not."""
    if not _INSTALLED:
        return "triton is not installed"
    if _interpreting() or torch.cuda.is_available():
        return None
    recorded = _not_recorded(operator)
    return "no CUDA device" if recorded is None else f"no CUDA device; {recorded}"


@functools.cache
def _capability(index: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


@constant_in_traces
def unsupported_device(operator: str, device_type: str, device_index: int) -> str | None:
    """Why the kernels cannot run on tensors of this device; ``None`` where they can."""
    reason = missing(operator)
    if reason is not None:
        return reason
    if _interpreting():
        return None if device_type == "cpu" else "Triton's interpreter takes CPU tensors"
    if device_type != "cuda":
        return f"it takes tensors on a CUDA device, not on {device_type}"
    if torch.version.hip is not None:
        return "it has been made for NVIDIA GPUs only"
    if _capability(device_index) < (8, 0):
        return "the GPU is older than compute capability 8.0"
    return None


@constant_in_traces
def unproven(operator: str) -> str | None:
    """Why ``impl="auto"`` leaves the kernels alone where they could run; ``None`` where it takes them.

    It takes what the ledger says has passed on a GPU, source and all, and nothing else.
    """
    if _interpreting():
        return "Triton's interpreter is for tests"
    reason = _not_recorded(operator)
    return None if reason is None else f"{reason}: ask for it by name"
