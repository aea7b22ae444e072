"""What a CUDA kernel is made of, as one hash, and what a built library says that it was made of.

Imports nothing of the package, so that ``setup.py`` can load it by its path: the hash that goes into a binary and the
hash that it is compared with are made by the same lines.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["built_from", "cuda_source_hash", "cuda_source_hashes", "digest"]

_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
_MARK = re.compile(rb"gptface built from (\w+\.cuda):([0-9a-f]{64})")  # csrc/include/gptface/built_from.h


def digest(files: Iterable[Path], base: Path) -> str:
    """SHA-256 of the names (below ``base``) and contents of files, whatever their order."""
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(file.relative_to(base).as_posix().encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()


def cuda_source_hash(file: Path, csrc: Path) -> str:
    """Of a ``.cu`` file and every header of the project that it includes, directly or not."""
    seen, waiting = {file}, [file]
    while waiting:
        current = waiting.pop()
        for name in _INCLUDE.findall(current.read_text(encoding="utf-8")):
            for base in (current.parent, csrc / "include", csrc):
                header = base / name
                if header.is_file() and header not in seen:
                    seen.add(header)
                    waiting.append(header)
    return digest(seen, csrc)


def cuda_source_hashes(csrc: Path) -> dict[str, str]:
    """``<file>.cuda`` -> hash, for every file of ``csrc/cuda``; empty where there are no sources."""
    return {f"{file.stem}.cuda": cuda_source_hash(file, csrc) for file in sorted((csrc / "cuda").glob("*.cu"))}


def built_from(binary: Path) -> dict[str, str]:
    """The same as a library carries it, read from its file: nothing is loaded, so no GPU is needed."""
    return {name.decode(): found.decode() for name, found in _MARK.findall(binary.read_bytes())}
