"""Loading of the native library: two shared objects beside the package, on libtorch's stable ABI.

They hold kernels only. The schemas they implement are defined by each operator's ``library`` module, so an operator
has a schema and a fake kernel even where nothing was compiled.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import torch

from gptface.ops.tracing import constant_in_traces

__all__ = [
    "cpu_amx_missing",
    "cpu_instruction_set",
    "cpu_kernel_missing",
    "cpu_library_missing",
    "cuda_kernel_missing",
    "cuda_library_missing",
    "library_path",
    "warn_of_fallback",
    "warn_without_cpu_kernel",
]

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define("cpu_instruction_set(str wanted) -> str")
_library.define("cpu_amx_missing() -> str")

_PACKAGE = Path(__file__).resolve().parents[1]


def library_path(part: str) -> Path | None:
    """Path of the shared object of ``part`` ("cpu" or "cuda"), or ``None`` where it was not built."""
    found = sorted(_PACKAGE.glob(f"_native_{part}*.so"))
    return found[0] if found else None


@functools.cache
def cpu_library_missing() -> str | None:
    """Load the CPU library once; ``None`` when it is there, else the reason why it is not."""
    path = library_path("cpu")
    if path is None:
        return (
            "the native CPU library was not built (no C++ compiler or no torch headers at installation); with both, "
            "reinstall by pip install --no-build-isolation"
        )
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        return f"the native CPU library does not load: {error}"
    return None


@functools.cache
def cuda_library_missing() -> str | None:
    """Load the CUDA library once, only where a CUDA device is; ``None`` when it is there, else the reason."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    path = library_path("cuda")
    if path is None:
        return "the native CUDA library was not built (no nvcc at installation)"
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        return f"the native CUDA library does not load: {error}"
    return None


def cpu_kernel_missing(operator: str) -> str | None:
    """``None`` where the CPU library holds a kernel of ``gptface::<operator>``, else the reason why there is none."""
    return cpu_library_missing() or _kernel_missing(operator, "CPU")


_instruction_set_in_use: list[str] = []  # one name, once somebody asked: every choice asks for it


def cpu_instruction_set(wanted: str = "") -> str:
    """The instruction set that the CPU kernels use.

    ``"portable"``, ``"avx2"``, ``"avx512"`` or ``"avx512_bf16"``: the best of the machine. The environment variable
    ``GPTFACE_CPU_INSTRUCTION_SET`` (read once) or ``wanted`` chooses another one for the rest of the process:

    - a lower one, for tests and diagnoses;
    - ``"amx"``, whose kernels have never run on a machine that has it, so that it is taken where it is named alone;
    - ``"emulated_amx"``, the kernels for AMX anywhere, on a tile unit in plain C++, or ``"emulated_amx_avx512_bf16"``,
      the same with the vector instructions that AMX comes with. Both are slow.

    Raises:
        RuntimeError: this machine has no ``wanted``, or the native library is missing.
    """
    if _instruction_set_in_use and not wanted:
        return _instruction_set_in_use[0]
    reason = cpu_library_missing()
    if reason is not None:
        raise RuntimeError(f"cpu_instruction_set: {reason}")
    name: str = torch.ops.gptface.cpu_instruction_set(wanted)
    _instruction_set_in_use[:] = [name]
    return name


def cpu_amx_missing() -> str | None:
    """``None`` where the processor has AMX and the compiler knew it, else the reason why not.

    Where ``GPTFACE_CPU_INSTRUCTION_SET`` is ``"amx"``, the system is asked for permission too, and the tiles multiply
    something whose result is known.
    """
    return cpu_library_missing() or torch.ops.gptface.cpu_amx_missing() or None


def cuda_kernel_missing(operator: str) -> str | None:
    """The same for the CUDA library."""
    return cuda_library_missing() or _kernel_missing(operator, "CUDA")


@functools.cache
def _kernel_missing(operator: str, key: str) -> str | None:
    if torch._C._dispatch_has_kernel_for_dispatch_key(f"gptface::{operator}", key):
        return None
    return f"the native {key} library was built before it held {operator}: reinstall the package"


@constant_in_traces
def warn_without_cpu_kernel(operator: str) -> None:
    """:func:`warn_of_fallback` where the CPU library holds no kernel of ``gptface::<operator>``."""
    missing = cpu_kernel_missing(operator)
    if missing is not None:
        warn_of_fallback(missing)


@functools.cache
def warn_of_fallback(reason: str) -> None:
    """Say once in a process that ``impl="auto"`` does without a native kernel, more slowly, and why."""
    warnings.warn(f"gptface runs without a native kernel: {reason}", RuntimeWarning, stacklevel=2)
