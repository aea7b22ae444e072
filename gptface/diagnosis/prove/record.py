"""The only writer of the user's ledger."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from gptface.files import atomic_write
from gptface.kernels.ledger import Record, as_text, read, same_proof

__all__ = ["add_records"]


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=60):
        yield


def add_records(path: Path, records: Sequence[Record]) -> None:
    """Add records to a ledger; of two of the same the new one stays. Others may write at the same time.

    A file that is no ledger is kept beside the new one, with a warning.

    Raises:
        OSError: the folder or the file cannot be written; the ledger is as it was.
    """
    with _alone(path):
        before, problem = read(path)
        if problem:
            kept = path.with_name(path.name + ".broken")
            os.replace(path, kept)
            warnings.warn(f"gptface: {problem}; it is kept as {kept}", RuntimeWarning, stacklevel=2)
        known = {same_proof(record): record for record in before}
        for record in records:
            known.pop(same_proof(record), None)  # to the end: the later one counts
            known[same_proof(record)] = record
        with atomic_write(path) as temporary:
            temporary.write_text(as_text(known.values()), encoding="utf-8")
