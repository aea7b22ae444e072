"""Worker processes side by side: each compiles and runs cases of its own, so that compilation uses every core."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from gptface.diagnosis.prove.case import Case, Found

__all__ = ["Outcome", "run_cases", "sensible_workers"]

WORKER = (sys.executable, "-m", "gptface.diagnosis.prove.worker")
PATIENCE = 300.0  # seconds for one case, compilation included; a kernel that hangs takes no longer


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        family, case: which.
        found: its comparisons; none where it ended in an error.
        error: what it raised, or how its process ended; "" for none.
    """

    family: str
    case: Case
    found: tuple[Found, ...]
    error: str

    @property
    def passed(self) -> bool:
        return not self.error and all(found.passed for found in self.found)


def sensible_workers(device: int | None) -> int:
    """One a core, as far as 1.5 GiB of the GPU's free memory each allow (a CUDA context and a case), at most 16.

    Args:
        device: index of the GPU; ``None`` for none.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device is None:
        return max(1, min(cores, 16))
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(cores, 16, int(free / (1.5 * 2**30))))


class _Worker:
    """A process and the file of what it says on stderr."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True, env=environment
        )

    def ask(self, request: dict[str, str], patience: float) -> dict[str, object]:
        """The answer, or an error in its words where the process ended or was too slow."""
        assert self.process.stdin is not None and self.process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(patience, stop)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line:
            return dict(json.loads(line))
        code = self.process.wait()
        if late.is_set():
            return {"found": [], "error": f"no answer within {patience:.0f} s", "dead": True}
        self.said.seek(0)
        last = (self.said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        return {"found": [], "error": f"its process ended with {code}: {last}"[:500], "dead": True}

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.said.close()


def run_cases(
    cases: Sequence[tuple[str, Case]],
    *,
    device: int,
    interpret: bool,
    workers: int,
    done: Callable[[Outcome], None],
    command: Sequence[str] = WORKER,
    patience: float = PATIENCE,
    until: float | None = None,
) -> list[Outcome]:
    """Run ``(family, case)`` pairs, the long ones first, in at most ``workers`` processes.

    Args:
        done: called after each, from whichever thread had it, one at a time.
        command: starts a worker; without the options that this adds.
        patience: seconds that one case may take.
        until: no case is begun after this moment of ``time.monotonic``; those have no outcome.
    """
    waiting: queue.SimpleQueue[tuple[str, Case]] = queue.SimpleQueue()
    for pair in sorted(cases, key=lambda pair: -pair[1].weight()):
        waiting.put(pair)
    options = ["--interpret"] if interpret else ["--device", str(device)]
    environment = {**os.environ, "TRITON_INTERPRET": "1" if interpret else "0"}
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def serve() -> None:
        worker: _Worker | None = None
        try:
            while True:
                try:
                    family, case = waiting.get_nowait()
                except queue.Empty:
                    return
                if until is not None and time.monotonic() > until:
                    return
                worker = worker or _Worker([*command, *options], environment)
                answer = worker.ask({"family": family, "case": case.name}, patience)
                found = tuple(Found(*one) for one in answer["found"])  # type: ignore[attr-defined]
                outcome = Outcome(family, case, found, str(answer["error"]))
                with lock:
                    outcomes.append(outcome)
                    done(outcome)
                if answer["dead"]:
                    worker.close()
                    worker = None
        finally:
            if worker is not None:
                worker.close()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(min(workers, len(cases)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
