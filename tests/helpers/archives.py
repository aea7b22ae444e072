"""Tar shards written member by member, as other people's tools leave them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["write_members"]


def write_members(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar of (name, bytes), in this order; a name may occur again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
