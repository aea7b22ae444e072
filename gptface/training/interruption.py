"""Ending a run early: a signal that came to any of its processes, and the step after which all of them stop."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, distributed

__all__ = ["Interruption"]

LAG = 1  # steps by which a GPU's verdict is read late, so that the host never waits for the step in hand


class Interruption:
    """Notes SIGINT and SIGTERM, and tells all processes at the same step that it is time to stop.

    Launchers end a run by sending SIGTERM to every process, which each of them receives in another step. So the
    processes vote at the end of every step by a reduction of one number. A GPU's verdict is read a step late: the host
    then waits for work of the step before, while the step in hand is still queued.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._device = accelerator.device
        self._several = accelerator.num_processes > 1
        self._signal: int | None = None
        self._verdicts: deque[tuple[Tensor, torch.cuda.Event]] = deque()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals are noted inside; one process alone ends at once when a second one comes.

        Of several processes none does: their launcher may hand on a signal that they were sent already, and it kills
        what does not end.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self._signal is not None and not self._several:
                raise KeyboardInterrupt
            self._signal = number

        previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def due(self) -> bool:
        """Whether the run stops after this step; every process must ask once a step, and all hear the same."""
        if not self._several:
            return self._signal is not None
        vote = torch.full((), float(self._signal is not None), device=self._device)
        distributed.all_reduce(vote, distributed.ReduceOp.MAX)
        if self._device.type != "cuda":
            return bool(vote)
        host = torch.empty((), pin_memory=True)
        host.copy_(vote, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._verdicts.append((host, event))
        if len(self._verdicts) <= LAG:
            return False
        host, event = self._verdicts.popleft()
        event.synchronize()
        return bool(host)
