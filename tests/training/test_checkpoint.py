"""Checkpoints: whole or absent, honest about whose they are."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.training import checkpoint as module
from gptface.training.checkpoint import (
    Checkpoint,
    checkpoint_folders,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
    sweep,
)


def example(step: int) -> Checkpoint:
    shared = {"modules": [{"weight": torch.full((4,), float(step))}], "seconds": 1.5}
    return Checkpoint(step, {"stage": "test", "data": {"seed": 0}}, shared, [{"random": random_state()}])


def test_round_trip_and_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, example(step), keep=2)
    folders = checkpoint_folders(tmp_path)
    assert [folder.name for folder in folders] == ["step-00000010", "step-00000015"]
    loaded = load_checkpoint(folders[-1])
    assert loaded.step == 15
    assert loaded.run == {"stage": "test", "data": {"seed": 0}}
    assert torch.equal(loaded.shared["modules"][0]["weight"], torch.full((4,), 15.0))


def test_generators_go_on_where_they_were() -> None:
    state = random_state()
    first = (random.random(), np.random.rand(), torch.rand(3))  # noqa: NPY002
    set_random_state(state)
    second = (random.random(), np.random.rand(), torch.rand(3))  # noqa: NPY002
    assert first[:2] == second[:2]
    assert torch.equal(first[2], second[2])


def test_a_full_disk_leaves_the_older_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, example(5), keep=2)

    class FullDisk(module._KeepsError):
        def write(self, data: Any) -> int:
            self.error = OSError(errno.ENOSPC, "No space left on device")
            raise self.error

    monkeypatch.setattr(module, "_KeepsError", FullDisk)
    with pytest.raises(OSError, match="No space left") as caught:
        save_checkpoint(tmp_path, example(10), keep=2)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000005"]


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, example(5), keep=2)
    (tmp_path / ".step-00000010-abc").mkdir()
    (tmp_path / ".step-00000010-abc" / "state.pt").write_bytes(b"half")
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000005"]


@pytest.mark.parametrize("damage", ["truncate", "remove description", "not json"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    folder = save_checkpoint(tmp_path, example(5), keep=2)
    if damage == "truncate":
        data = (folder / "state.pt").read_bytes()
        (folder / "state.pt").write_bytes(data[: len(data) // 2])
    elif damage == "remove description":
        (folder / "run.json").unlink()
    else:
        (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match="step-00000005: is not a readable checkpoint"):
        load_checkpoint(folder)
