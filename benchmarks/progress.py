"""How far a long command is and how long it will still take, on one line of the standard error stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """Progress over stages whose units cost different amounts of time.

    Time left is what remains of the expected time, scaled by how the part that is done compared with what was expected
    of it. A terminal has its line rewritten; any other stream gets a new line for each stage and every ``interval``.

    Args:
        expected: seconds that each stage is expected to take, on some machine: only their proportions matter, once
            anything is done.
        stream: where to write; standard error by default.
        interval: seconds between two reports.
    """

    def __init__(self, expected: Mapping[str, float], stream: TextIO | None = None, interval: float = 10.0) -> None:
        self.expected = dict(expected)
        self.done = dict.fromkeys(expected, 0.0)
        self.stream = stream if stream is not None else sys.stderr
        self.interval = interval if not self.stream.isatty() else 0.2
        self.begin = time.monotonic()
        self.reported = -float("inf")

    def stage(self, name: str, units: int) -> Callable[[int], None]:
        """Begin a stage of so many units; the function returned is told how many more of them are done."""
        finished = 0

        def advance(more: int) -> None:
            nonlocal finished
            finished += more
            self.done[name] = self.expected[name] * finished / max(units, 1)
            if time.monotonic() - self.reported >= self.interval:
                self._report(name)

        self._report(name)
        return advance

    def seconds_left(self) -> float:
        done, total = sum(self.done.values()), sum(self.expected.values())
        elapsed = time.monotonic() - self.begin
        pace = elapsed / done if done > 0 else 1.0
        return max(0.0, (total - done) * pace)

    def finish(self) -> None:
        """Say how long everything took."""
        self._write(f"done in {_clock(time.monotonic() - self.begin)}")
        if self.stream.isatty():
            self.stream.write("\n")

    def _report(self, name: str) -> None:
        self.reported = time.monotonic()
        share = sum(self.done.values()) / max(sum(self.expected.values()), 1e-9)
        self._write(f"{share:4.0%}  {_clock(self.seconds_left())} left  {name}")

    def _write(self, line: str) -> None:
        self.stream.write(f"\r\x1b[K{line}" if self.stream.isatty() else f"{line}\n")
        self.stream.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
