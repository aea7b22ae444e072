"""Whether ``impl="auto"`` may take a GPU kernel: what the ledger says of it on the GPU at hand. Imports no triton."""

from __future__ import annotations

import functools
import os
import warnings
from typing import TYPE_CHECKING

import torch

from gptface.ops.tracing import constant_in_traces

if TYPE_CHECKING:
    from gptface.kernels.ledger import Machine

__all__ = [
    "FOR_TESTS", "forget", "interpreter_problem", "interpreting", "machine", "missing_here", "unproven", "warn_of",
]  # fmt: skip

FOR_TESTS = "Triton's interpreter is for tests"


def interpreting() -> bool:
    """Triton reads this when the kernels are imported; it makes them run on CPU tensors, slowly, for tests."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def machine(index: int) -> Machine:
    """What a record has to agree with on CUDA device ``index``."""
    from gptface.kernels.ledger import Machine, installed_triton

    major, small = torch.cuda.get_device_capability(index)
    return Machine(f"sm_{major}{small}", torch.__version__, installed_triton())


@constant_in_traces
@functools.cache
def unproven(family: str, index: int | None) -> str | None:
    """Why ``impl="auto"`` leaves kernels alone that could run; ``None`` where all of them are proven.

    Args:
        family: as :func:`gptface.kernels.inventory.family` says.
        index: of the CUDA device; ``None`` for the first.
    """
    from gptface.kernels import inventory, ledger

    if family not in inventory.CUDA_FOR and interpreting():
        return FOR_TESTS
    missing = missing_here()
    if missing is not None:
        return missing
    here = machine(index or 0)
    records, problem = ledger.known()
    lacking = []
    for kernel in inventory.KERNELS:
        if inventory.family(kernel) == family:
            found = ledger.standing(kernel, here, records)
            if not found.proven:
                lacking.append(f"{kernel}: {found.words}")
    if not lacking:
        return None
    return "; ".join(filter(None, (f"no proof that it is right here ({here})", *lacking, problem)))


@constant_in_traces
@functools.cache
def warn_of(family: str, index: int | None) -> None:
    """Say that ``impl="auto"`` does without kernels that are not proven here, and which command proves them: once."""
    if missing_here() is None and unproven(family, index) not in (None, FOR_TESTS):
        _warn_once(str(machine(index or 0)))


@functools.cache
def _warn_once(here: str) -> None:
    warnings.warn(
        f"gptface: impl='auto' leaves GPU kernels of gptface alone that nobody has seen pass here ({here}) and takes "
        "what else there is; `gptface prove` finds out in a minute or two, `gptface doctor` shows what is known",
        RuntimeWarning,
        stacklevel=2,
    )


def interpreter_problem() -> str | None:
    """Why Triton's interpreter cannot run here, or ``None``: 3.6's and older ones break with NumPy from 2.3 on."""
    import numpy

    from gptface.kernels.ledger import installed_triton

    if not installed_triton():
        return "triton is not installed"
    triton, array = (tuple(map(int, version.split(".")[:2])) for version in (installed_triton(), numpy.__version__))
    if triton <= (3, 6) and array >= (2, 3):
        return (
            f"the interpreter of triton {installed_triton()} breaks with NumPy {numpy.__version__}: "
            "pip install 'numpy<2.3', or a newer triton"
        )
    return None


def forget() -> None:
    """Ask the ledger again at the next call: it has been written."""
    from gptface.kernels import ledger

    ledger.forget()
    unproven.cache_clear()


def missing_here() -> str | None:
    """Why no GPU kernel of the project can run on this machine, or ``None``."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    return "the kernels have been made for NVIDIA GPUs only" if torch.version.hip is not None else None
