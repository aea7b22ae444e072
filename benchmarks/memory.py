"""Peak memory of one call, beyond its inputs.

**CUDA**: ``max_memory_allocated`` after ``reset_peak_memory_stats``, less what was allocated before. It counts torch's
allocator; a library with an allocator of its own is not seen.

**CPU**: every contender runs in a process of its own, where the peak of the resident set is read from the kernel, so it
counts whatever was touched, by whichever allocator. The process is forked from a server that has imported everything
and has never started a thread (a fork of a process with OpenMP threads may hang). It makes the problem, builds and runs
once (compilation, lazily allocated scratch), returns free pages to the system, sets the peak back (``5`` written to
``/proc/self/clear_refs``), builds and runs again, and reports peak less resident set before. Pages are 4 KiB and thread
stacks come and go: differences below about 1 MiB say nothing. Linux only; elsewhere the column is empty.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.contender import CannotRun, Case, Prepared, Subject

__all__ = ["cuda_peak", "host_peak", "host_peak_in_child"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_PRELOAD = ["benchmarks.subjects", "torch", "numpy"]


def cuda_peak(prepared: Prepared, device: torch.device) -> int:
    """Bytes that building the mask and running once take beyond what is allocated already."""
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = prepared.run(prepared.build() if prepared.build else None)
    torch.cuda.synchronize(device)
    del result
    return max(0, torch.cuda.max_memory_allocated(device) - before)


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")


def _release_free_pages() -> None:
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without it keeps more, and the peak reads lower
        ctypes.CDLL(None).malloc_trim(0)


def host_peak(call: Callable[[], Any]) -> int:
    """Bytes by which the resident set rises above its present size during ``call``. Linux.

    Raises:
        OSError: the system does not let a process reset its own peak.
    """
    _release_free_pages()
    before = _status("VmRSS")
    _CLEAR.write_text("5")
    result = call()
    peak = _status("VmHWM")
    del result
    return max(0, peak - before)


def _child(connection: Connection, subject: Subject, case: Case, contender: str, threads: int) -> None:
    try:
        torch.set_num_threads(threads)
        problem = subject.problem(case, torch.device("cpu"))
        prepared = next(c for c in subject.contenders(case) if c.name == contender).prepare(problem)

        def step() -> Any:
            return prepared.run(prepared.build() if prepared.build else None)

        step()
        connection.send(("bytes", host_peak(step)))
    except CannotRun as error:
        connection.send(("reason", str(error)))
    except Exception as error:
        connection.send(("reason", f"{type(error).__name__}: {error}".splitlines()[0]))


def host_peak_in_child(
    subject: Subject, case: Case, contender: str, threads: int, timeout: float
) -> tuple[int | None, str]:
    """``(bytes, "")``, or ``(None, reason)`` where it could not be measured within ``timeout`` seconds."""
    if not _CLEAR.exists():
        return None, "peak memory of a processor is measured on Linux only"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, subject, case, contender, threads), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            return None, f"no answer within {timeout:.0f} s"
        kind, value = receiver.recv()
    except EOFError:  # the system killed it: out of memory, most likely
        return None, "the measuring process died"
    finally:
        process.join(5)  # a process that compiled something has workers to put away
        if process.is_alive():
            process.kill()
            process.join()
        receiver.close()
    return (int(value), "") if kind == "bytes" else (None, str(value))
