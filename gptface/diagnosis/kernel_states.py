"""What the ledger says of every GPU kernel, in a line each."""

from __future__ import annotations

import torch

from gptface.kernels import inventory, ledger
from gptface.kernels.places import ledger_path
from gptface.ops import proofs

__all__ = ["kernel_states", "ledger_notes"]


def kernel_states() -> dict[str, str]:
    """Kernel -> its standing on the GPUs at hand, one line; without a GPU, where it was proven."""
    records, _ = ledger.known()
    architectures = {}
    if proofs.missing_here() is None:
        for index in range(torch.cuda.device_count()):
            here = proofs.machine(index)
            architectures[here.architecture] = here
    states = {}
    for kernel in inventory.KERNELS:
        found = [ledger.standing(kernel, here, records) for here in (architectures.values() or (None,))]
        states[kernel] = "; ".join(standing.words for standing in found)
        if kernel in inventory.outdated():
            states[kernel] += "; the library was built from other sources than csrc/ holds now: reinstall"
    return states


def ledger_notes() -> list[str]:
    """Where the user's ledger is, and what is wrong with it."""
    path, problem = ledger_path(), ledger.known()[1]
    if path is None:
        return ["no ledger of your own: pip install platformdirs, or set GPTFACE_LEDGER to a file"]
    there = "" if path.is_file() else ", not written yet"
    return [f"ledger of this user: {path}{there}", *([problem] if problem else [])]
