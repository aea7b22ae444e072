"""metrics.jsonl and the line people read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gptface.progress import format_duration
from gptface.training.metrics import MetricsFile, log_line


def test_resuming_drops_later_lines_and_a_half_written_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5, "loss": 1}\n{"step": 10, "loss": 2}\n{"step": 15, "lo')
    metrics = MetricsFile(path, resume_step=5)
    metrics.write({"step": 10, "loss": 3.0})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 5, "loss": 1},
        {"step": 10, "loss": 3.0},
    ]


def test_a_fresh_run_begins_with_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5, "loss": 1}\n')
    MetricsFile(path)
    assert path.read_text() == ""


def test_a_line_is_whole_or_absent_when_the_disk_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    metrics.write({"step": 1})
    real, calls = os.write, []

    def partial(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return real(descriptor, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", partial)
    with pytest.raises(OSError, match="No space left on device"):
        metrics.write({"step": 2})
    monkeypatch.undo()
    assert path.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "?"), (0.2, "0s"), (59.4, "59s"), (192, "3m12s"), (3900, "1h05m")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_line_says_speed_utilisation_and_against_what() -> None:
    record = {
        "step": 20,
        "seconds": 10.0,
        "images_per_second": 128.4,
        "mfu": 0.341,
        "memory_gib": 0.5,
        "loss": 2.5,
        "learning_rate": 1e-3,
        "masked_image": 1.5,
    }
    line = log_line("pretrain", record, 0.1, 90.0, "0.36 TFLOP/s measured")
    for part in (
        "pretrain step 20 (10 %)",
        "masked_image 1.5",
        "128 images/s",
        "34 % of 0.36 TFLOP/s measured",
        "1m30s",
    ):
        assert part in line
