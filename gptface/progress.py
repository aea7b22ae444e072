"""What long work shows: a progress bar with the remaining time, or plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from typing_extensions import Self

__all__ = ["Countdown", "Display", "format_duration"]


def format_duration(seconds: float | None) -> str:
    """``3m12s``, ``1h05m``, ``41s``; ``?`` for ``None``."""
    if seconds is None:
        return "?"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


class Display:
    """A progress bar with the remaining time on a terminal, plain lines elsewhere, nothing where ``shown`` is off.

    It writes to stderr, so that stdout stays free for a command's result.
    """

    def __init__(self, stage: str, shown: bool = True) -> None:
        self.stage = stage
        self._console = Console(file=sys.stderr, quiet=not shown, soft_wrap=True, highlight=False)
        self._progress: Progress | None = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.quiet:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[status]}"),
                console=self._console,
                refresh_per_second=2,  # the training threads need the cores more
            )
            self._progress.start()
            self._task = self._progress.add_task(self.stage, total=1.0, status="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, share: float, status: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=min(share, 1.0), status=status)

    def line(self, text: str) -> None:
        self._console.print(text, markup=False)


class Countdown:
    """A counted piece of work within a display: how much of it is done, and the time that remains at this pace.

    Args:
        display: where it is shown: a bar on a terminal, elsewhere a line every half minute and one at the end.
        title: what is being done.
        total: how many there are to do.
    """

    LINE_EVERY = 30.0  # seconds

    def __init__(self, display: Display, title: str, total: float) -> None:
        self._display, self._title, self._total = display, title, total
        self._begin = self._spoke = time.monotonic()

    def after(self, past: float) -> Callable[[float], None]:
        """:meth:`advance` of a part before which ``past`` were done."""
        return lambda done: self.advance(past + done)

    def advance(self, done: float) -> None:
        """``done`` of the total is done."""
        now = time.monotonic()
        share = done / self._total
        if share >= 1:
            self._display.advance(1.0, self._title)
            self._display.line(f"{self._title}: {format_duration(now - self._begin)}")
            return
        remaining = format_duration((now - self._begin) * (1 / share - 1) if share > 0 else None)
        self._display.advance(share, f"{self._title}, remaining {remaining}")
        if now - self._spoke > self.LINE_EVERY:
            self._spoke = now
            self._display.line(f"{self._title}: {share:.0%}, remaining {remaining}")
