"""What the machine computes fast, and how much of it a run uses."""

from __future__ import annotations

import ctypes
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from gptface.errors import InputError

__all__ = ["forward_flops", "has_fast_bf16", "keep_freed_memory", "mixed_precision", "peak_flops", "peak_memory_gib"]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices faster than float32 ones (AVX512-BF16, AMX, Ampere and later)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def mixed_precision(wanted: str, device: torch.device) -> str:
    """Accelerate's name (``"bf16"`` or ``"no"``) for a section's ``precision``.

    Raises:
        InputError: bf16 asked of a GPU that has none. A processor without it computes bf16 too, only slowly.
    """
    if wanted == "float32":
        return "no"
    if wanted == "bf16":
        if device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise InputError("precision: bf16 does not exist on this GPU, use float32 or auto")
        return "bf16"
    return "bf16" if has_fast_bf16(device) else "no"


# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees for its next allocations; whether its C library (glibc) can.

    A training step on a processor frees and allocates the same hundreds of megabytes again and again. By default, glibc
    gives blocks of megabytes back to the system at once, and each of their pages costs a fault when it comes again. The
    process stays at its peak, which may lie somewhat higher than before, since blocks of varied sizes leave gaps. It
    holds for the life of the process.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    return False


def peak_flops(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a large square matrix product in the training precision, measured now.

    Takes about a third of a second. It is what this torch build reaches on this machine with the threads it has, not
    the vendor's figure, so an MFU against it can be compared between precisions on one machine only.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)  # the global one belongs to the run
    left, right = (torch.randn(side, side, device=device, generator=generator).to(dtype) for _ in range(2))

    def run() -> None:
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    run()
    best, end = float("inf"), time.perf_counter() + 0.3
    while time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best


def peak_memory_gib(device: torch.device) -> float:
    """Largest memory so far in GiB: allocated on a GPU, resident in main memory for a processor."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def forward_flops(call: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products and convolutions of one call, made here without gradients."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        call()
    return float(counter.get_total_flops())
