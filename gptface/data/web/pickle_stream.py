"""Large pickles read as a stream: their opcodes are interpreted here, no code of theirs is run, memory stays bounded.

``torch.save`` and ``pickle.dump`` write one dictionary or list as a sequence of opcodes; the standard unpickler builds
the whole of it before it returns (a published list of detections takes gigabytes), and imports what the file names.
Here every batch of a thousand items leaves the machine as soon as it is complete, and the machine knows arrays, tensors
and plain values alone.
"""

from __future__ import annotations

import io
import itertools
import queue
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from gptface.data.web.pickle_machine import PickleMachine, RefersBack
from gptface.errors import InputError

__all__ = ["stream_integers", "stream_items"]

TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # what torch.save wrote first before its files became zip archives


def _run(
    path: Path,
    on_items: Callable[[list[Any]], None] | None,
    on_integers: Callable[[list[int]], None] | None,
    keep: bool = False,
) -> Any:
    try:
        with open(path, "rb") as plain:
            if zipfile.is_zipfile(plain):
                with zipfile.ZipFile(plain) as archive:
                    inner = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
                    if inner is None:
                        raise InputError(f"{path}: a zip archive without a data.pkl, which torch.save writes")
                    with archive.open(inner) as member:
                        file = io.BufferedReader(cast(Any, member), 1 << 20)
                        folder = inner.removesuffix("/data.pkl")
                        return PickleMachine(file, path, (archive, folder), on_items, on_integers, keep).run()
            plain.seek(0)
            if _starts_as_torch_did(plain):
                for _ in range(3):  # the magic number, the version, the machine
                    PickleMachine(plain, path, None, None, None).run()
            return PickleMachine(plain, path, None, on_items, on_integers, keep).run()
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _starts_as_torch_did(file: IO[bytes]) -> bool:
    start = file.read(32)
    file.seek(0)
    return TORCH_MAGIC.to_bytes(10, "little") in start


def _batches(path: Path, run: Callable[[Callable[[Any], None]], Any]) -> Iterator[Any]:
    """Turn a machine that calls into one that is asked: it runs in a thread, at most two batches ahead."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=2)
    stopped = threading.Event()

    def give(kind: str, value: Any) -> None:
        while not stopped.is_set():
            try:
                waiting.put((kind, value), timeout=0.1)
                return
            except queue.Full:
                continue

    def hand_on(batch: Any) -> None:
        if stopped.is_set():
            raise InputError(f"{path}: nobody reads on")
        give("batch", batch)

    def work() -> None:
        try:
            give("end", run(hand_on))
        except BaseException as error:  # whoever waits must hear of it
            give("error", error)

    thread = threading.Thread(target=work, daemon=True, name=f"pickle of {path.name}")
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "error":
                raise value
            if kind == "end":
                yield [value]
                return
            yield value
    finally:
        stopped.set()
        thread.join()


def stream_items(path: Path) -> Iterator[tuple[Any, Any]]:
    """The (key, value) pairs of the dictionary in a ``.pth`` or pickle; a batch is in memory at a time.

    Where an item shares a part with one that has been handed on, the file is read again from there with everything
    kept in memory.

    Raises:
        InputError: the file asks for anything but arrays, tensors and plain values, is broken or is no dictionary.
    """
    count = 0
    try:
        for item in _items(path, keep=False):
            yield item
            count += 1
    except RefersBack:
        yield from itertools.islice(_items(path, keep=True), count, None)


def _items(path: Path, keep: bool) -> Iterator[tuple[Any, Any]]:
    for batch in _batches(path, lambda give: _run(path, give, None, keep)):
        for item in batch:
            if isinstance(item, tuple) and len(item) == 2:
                yield item
            elif not (isinstance(item, dict) and not item):  # what is left of the dictionary
                raise InputError(f"{path}: holds a {type(item).__name__}; a dictionary by sample id is needed")


def stream_integers(path: Path) -> Iterator[list[int]]:
    """All whole numbers in a ``.pth`` or pickle of lists, sets, arrays or tensors of them, however nested, in batches.

    Raises:
        InputError: as of :func:`stream_items`; anything else than whole numbers in it.
    """
    for batch in _batches(path, lambda give: _run(path, None, give)):
        if all(type(item) is int for item in batch):
            yield batch
        else:
            for part in batch:
                yield from _integers_within(part, path)


def _integers_within(value: Any, path: Path) -> Iterator[list[int]]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        flat = value.ravel()
        for start in range(0, len(flat), 1 << 16):
            yield flat[start : start + (1 << 16)].tolist()
    elif isinstance(value, dict):
        for part in value.values():
            yield from _integers_within(part, path)
    elif isinstance(value, (list, tuple)):
        if value and all(type(item) is int for item in value):
            yield list(value)
        else:
            for part in value:
                yield from _integers_within(part, path)
    elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        yield [int(value)]
    else:
        raise InputError(f"{path}: holds a {type(value).__name__}; lists of whole numbers, sample ids, are needed")
