"""A piece of work killed (SIGKILL) at every step at which it makes a result visible."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["digest_folder", "killed_at"]

PATIENCE = 60.0  # seconds


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a child that is killed at its ``number``-th ``os.replace``, before it; whether it came so far."""
    child = os.fork()
    if not child:
        try:
            left, replace = number, os.replace

            def dying(*arguments: object, **options: object) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                replace(*arguments, **options)  # type: ignore[arg-type]

            os.replace = dying  # type: ignore[assignment]
            work()
        except BaseException:
            os._exit(3)
        os._exit(0)
    begin = time.monotonic()
    while time.monotonic() - begin < PATIENCE:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status in (0, signal.SIGKILL), f"the work failed by itself: {status}"
            return status != 0
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"the work did not end within {PATIENCE} s")


def digest_folder(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name, but for logs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".log"
    }
