"""The process that img2dataset runs in: ``python -m gptface.data.web.fetch_process OPTIONS.json``.

It has its own, for img2dataset prints, installs signal handlers and leaves processes behind. It ends when its standard
input is closed, that is, when the command that started it is gone.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import threading
from typing import Any

__all__ = ["main"]


def _end_with_input() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock a thread must not hold at the end
        pass
    os._exit(1)


def main() -> None:
    """Run img2dataset with the options of the file: its own under ``download``, ``Bounds`` under ``bounds``."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version
    os.environ.setdefault("WANDB_MODE", "disabled")
    threading.Thread(target=_end_with_input, daemon=True).start()
    # By name: the package's attribute `main` is a function.
    library: Any = importlib.import_module("img2dataset.main")
    from gptface.data.web.downloader import BoundedDownloader, Bounds, EndingLogger

    with open(sys.argv[1], encoding="utf-8") as file:
        options = json.load(file)
    for name in ("Downloader", "LoggerProcess"):
        if not hasattr(library, name):
            raise SystemExit(f"this img2dataset has no {name}; gptface needs version 1.47 or one like it")
    library.Downloader = functools.partial(BoundedDownloader, bounds=Bounds(**options["bounds"]))
    library.LoggerProcess = EndingLogger
    library.download(**options["download"])


if __name__ == "__main__":
    main()
