"""The shards read last, kept open: reads by place that processes and threads may share."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["OPEN_FILES", "OpenFiles", "open_files"]

OPEN_FILES = 64  # far below the usual limit of 1024 descriptors, whatever the number of shards and data sets


class _Descriptor:
    """An open file, closed when nobody reads it any more."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    # ``close`` is bound early: at exit, modules are emptied first.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "number"):
            close(self.number)


class OpenFiles:
    """The shards read last, kept open. ``pread`` moves no file position, so forks and threads may share them."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, _Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, owner: str, path: str, offset: int, size: int) -> bytes:
        """``size`` bytes of a file from ``offset`` on.

        Args:
            owner: tells the files of one index from those of another that a new file at the same path got.

        Raises:
            OSError: it cannot be read, or has fewer bytes by now.
        """
        with self._lock:
            file = self._files.get(owner)
            if file is None:
                file = self._files[owner] = _Descriptor(path)
                if len(self._files) > OPEN_FILES:
                    self._files.popitem(last=False)  # closed when the last thread that reads it lets go
            else:
                self._files.move_to_end(owner)
        data = os.pread(file.number, size, offset)
        if len(data) != size:
            raise OSError(f"{path}: {len(data)} of {size} bytes at {offset}; the shard has shrunk since it was opened")
        return data


open_files = OpenFiles()
