"""What a run says of itself: ``metrics.jsonl``, TensorBoard, log lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gptface.files import atomic_write
from gptface.progress import format_duration

__all__ = ["MetricsFile", "TensorBoard", "log_line"]


class MetricsFile:
    """``metrics.jsonl``: a JSON object a line, each line whole or not there.

    Args:
        path: the file.
        resume_step: lines of later steps (and a half-written last line) are removed; ``None`` removes all.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        kept = [] if resume_step is None else [line for line in _lines(path) if line["step"] <= resume_step]
        with atomic_write(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            OSError: it cannot be written; the file then ends with the line before.
        """
        line = (json.dumps(record) + "\n").encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            try:
                written = os.write(descriptor, line)
                if written < len(line):  # a disk that fills up takes a part first and refuses the rest
                    os.write(descriptor, line[written:])
            except OSError as error:
                os.ftruncate(descriptor, size)
                raise OSError(error.errno, error.strerror, os.fspath(self.path)) from None
        finally:
            os.close(descriptor)


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # what a killed process left half-written
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            yield record


class TensorBoard:
    """Event files in ``folder``; made only when the first scalar comes, for the import takes a second."""

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        self._folder = folder
        self._resume_step = resume_step
        self._writer: Any = None

    def write(self, prefix: str, record: Mapping[str, Any], step: int) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = None if self._resume_step is None else self._resume_step + 1
            self._writer = SummaryWriter(str(self._folder), purge_step=purge)
        for name, value in record.items():
            if isinstance(value, (int, float)) and name != "step":
                self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


SPEED = ("step", "seconds", "images_per_second", "mfu", "memory_gib", "loss", "learning_rate", "gradient_norm")


def log_line(stage: str, record: Mapping[str, Any], share: float, remaining: float | None, peak: str) -> str:
    """The line people read: loss and its parts, then speed, utilisation, memory and time."""
    parts = " ".join(f"{name} {value:.4g}" for name, value in record.items() if name not in SPEED)
    return (
        f"{stage} step {record['step']} ({100 * min(share, 1):.0f} %) loss {record['loss']:.4f} [{parts}] "
        f"lr {record['learning_rate']:.2g} | {record['images_per_second']:.0f} images/s, "
        f"MFU {100 * record['mfu']:.0f} % of {peak}, {record['memory_gib']:.2f} GiB, "
        f"{format_duration(record['seconds'])} gone, {format_duration(remaining)} left"
    )
