"""Checkpoints: everything a run needs to go on as if it had never stopped, written whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gptface.errors import InputError
from gptface.files import atomic_directory

__all__ = [
    "Checkpoint",
    "checkpoint_folders",
    "load_checkpoint",
    "random_state",
    "save_checkpoint",
    "set_random_state",
    "sweep",
]

STATE = "state.pt"
DESCRIPTION = "run.json"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass
class Checkpoint:
    """A run after ``step`` steps.

    Attributes:
        step: optimiser steps made.
        run: what the run is (stage, configuration, processes), as JSON holds it; :mod:`gptface.training.continuation`
            says which other runs may go on from it.
        shared: the same on every process: modules, averages, optimisers, seconds spent.
        processes: what each process has of its own, by rank: random generators, the position in the data, and values
            that are yet to be logged.
    """

    step: int
    run: dict[str, Any]
    shared: dict[str, Any]
    processes: list[dict[str, Any]]


def random_state() -> dict[str, Any]:
    """The generators of Python, NumPy, torch and this process's GPU, as plain values and tensors."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 (other people's code may use it)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators where :func:`random_state` found them."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def checkpoint_folders(folder: Path) -> list[Path]:
    """The complete checkpoints in ``folder``, oldest first."""
    if not folder.is_dir():
        return []
    found = [entry for entry in folder.iterdir() if _NAME.fullmatch(entry.name) and (entry / STATE).is_file()]
    return sorted(found, key=lambda entry: int(entry.name.removeprefix("step-")))


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write ``folder/step-00000100`` and remove all but the newest ``keep`` checkpoints.

    Raises:
        OSError: it cannot be written (full disk, no permission); what was there before is still there.
    """
    target = folder / f"step-{checkpoint.step:08d}"
    with atomic_directory(target) as temporary:
        _write_state(temporary / STATE, {"shared": checkpoint.shared, "processes": checkpoint.processes})
        description = {"step": checkpoint.step, **checkpoint.run}
        (temporary / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    for old in checkpoint_folders(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        InputError: it is damaged, or not a checkpoint.
    """
    try:
        run = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
        return Checkpoint(int(run.pop("step")), run, state["shared"], state["processes"])
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path}: is not a readable checkpoint ({reason}); remove it to go on from an older one"
        ) from None


def sweep(folder: Path) -> None:
    """Remove what a killed process left half-written in ``folder``."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.name.startswith(".step-") or entry.name.endswith(".previous"):
                shutil.rmtree(entry, ignore_errors=True)


class _KeepsError:
    """A file whose first error is kept: torch's writer turns a full disk into a RuntimeError that does not say so."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "wb")  # noqa: SIM115 (closed by _write_state)
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self.file.flush()


def _write_state(path: Path, state: dict[str, Any]) -> None:
    writer = _KeepsError(path)
    try:
        torch.save(state, writer)  # type: ignore[arg-type]
        writer.flush()
        os.fsync(writer.file.fileno())
    except (OSError, RuntimeError) as error:
        cause = writer.error or error
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror, os.fspath(path.parent.parent)) from error
        raise
    finally:
        try:
            writer.file.close()
        except OSError as error:  # what was still in the buffer of a full disk
            writer.error = writer.error or error
