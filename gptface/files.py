"""Writing files so that a reader sees the old content or the new, never half of it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptface.errors import InputError

__all__ = ["atomic_directory", "atomic_write", "refuse_url", "url_problem"]

# Two letters at least: a drive is one. Path makes one slash of two.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/|pipe:", re.IGNORECASE)


def url_problem(path: str | os.PathLike[str]) -> str | None:
    """What is wrong with an address on the network where a path belongs; ``None`` for anything else."""
    text = os.fspath(path)
    if not _URL.match(text) or os.path.exists(text):
        return None
    return f"{text} is a URL, not a path; allowed: a file or folder of this machine, so download it first"


def refuse_url(name: str, path: str | os.PathLike[str]) -> None:
    """Refuse an address on the network where a path belongs.

    Args:
        name: what the error calls it: an argument or a field.
        path: as somebody gave it.

    Raises:
        InputError: see :func:`url_problem`.
    """
    problem = url_problem(path)
    if problem is not None:
        raise InputError(f"{name}: {problem}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path`` in one step, on error it is removed.

    The temporary name keeps the suffix, so writers that choose a format by suffix work unchanged.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    except OSError as error:  # under the name that the user gave, not that of the temporary file
        raise OSError(error.errno, error.strerror, str(target)) from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; a result should be as readable as any other
        try:
            os.replace(temporary, target)
        except OSError as error:  # such as a folder of that name
            raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary directory beside ``path``; on success it becomes ``path`` (replacing a former one).

    A crash leaves either the former directory or the new one under ``path``, or, in the instant between two renames,
    the former one under ``path`` + ``.previous``.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    previous = target.with_name(target.name + ".previous")
    try:
        yield temporary
        for child in temporary.rglob("*"):
            if child.is_file():
                _sync(child)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if target.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.replace(target, previous)
        os.replace(temporary, target)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
