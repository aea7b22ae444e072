"""Where every sample's parts lie: inside webdataset tar shards, or as files of a directory.

Exact resume and a global shuffle need random access by sample number. The ``webdataset`` library reads shards as
streams (its random-access companion ``wids`` is a package of its own since webdataset 1.0 and wants index files made
beforehand), so what is used of it here is its naming rule and its shard-list notation, and the members' places come
from the standard library's ``tarfile``: one pass over the headers when a data set is opened, and one ``pread`` per
part afterwards. Nothing is unpacked, and worker processes share nothing but the page cache.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import tarfile
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import braceexpand
import numpy as np
from webdataset.tariterators import base_plus_ext

from gptface.data.images import IMAGE_SUFFIXES
from gptface.errors import InputError

__all__ = ["PARTS", "DirectorySource", "ShardSource", "Source", "find_sources", "key_identity"]

logger = logging.getLogger("gptface.data")

PARTS = ("image", "txt", "json", "regions.png")
"""The parts of a sample, by their column in an index; of the image's possible suffixes the first found counts."""

OPEN_FILES = 64  # far below the usual limit of 1024 descriptors, whatever the number of shards and data sets
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def key_identity(key: str, repetition: int = 0) -> int:
    """The stable 63-bit identity of a sample: the first 63 bits of BLAKE2b over its key.

    The key is the sample's name in its shard, so that moving samples between shards changes no identity; where several
    shards hold the same key, the n-th of them (n > 0) is hashed as ``key#n``.
    """
    name = f"{key}#{repetition}" if repetition else key
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big") >> 1


def _identities(keys: Iterable[str]) -> np.ndarray:
    return np.fromiter((key_identity(key) for key in keys), dtype=np.int64)


class Source(Protocol):
    """A numbered collection of samples' parts."""

    name: str
    problems: list[str]
    identities: np.ndarray
    """int64 (n,): ``key_identity`` of every key."""

    def __len__(self) -> int: ...

    def key(self, number: int) -> str:
        """The sample's name, unique within this source."""
        ...

    def read(self, number: int, part: int) -> bytes | None:
        """A part's bytes, ``None`` where the sample has no such part. Raises OSError when it can no longer be read."""
        ...


class _Descriptor:
    """An open file, closed when nobody reads it any more."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class _OpenFiles:
    """The shards read last, kept open. ``pread`` moves no file position, so forks and threads may share them."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, _Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, owner: str, path: str, offset: int, size: int) -> bytes:
        """``owner`` tells the files of one index from those of another that a new file at the same path got."""
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


_open_files = _OpenFiles()


class ShardSource:
    """The samples of one uncompressed tar shard.

    Raises:
        InputError: the file is missing, not a tar, compressed, or holds no whole sample.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.path.abspath(path)
        self.problems: list[str] = []
        self._owner = uuid.uuid4().hex
        try:
            self._scan(os.stat(self.name).st_size)
        except OSError as error:
            raise InputError(f"{path}: the shard cannot be read ({error.strerror or error})") from None
        for problem in self.problems:
            logger.warning("%s", problem)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, number: int) -> str:
        return str(self._keys[number].decode("utf-8", "surrogateescape"))

    def read(self, number: int, part: int) -> bytes | None:
        offset, size = self._places[number, part].tolist()
        return None if offset < 0 else _open_files.read(self._owner, self.name, offset, size)

    def _scan(self, file_size: int) -> None:
        """Fill ``_keys`` ("S", n) and ``_places`` (n, parts, 2: offset and size in bytes, -1 where absent)."""
        keys: list[str] = []
        places: list[list[tuple[int, int]]] = []
        absent = (-1, -1)
        broken = cut = ""
        with open(self.name, "rb") as file:
            start = file.read(512)
            for magic, compression in COMPRESSED.items():
                if start.startswith(magic):
                    raise InputError(
                        f"{self.name}: {compression}-compressed; unpack it once, shards are read at random"
                    )
            file.seek(0)
            try:
                with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as archive:
                    for member in archive:
                        if not member.isreg() or (part_of := _key_and_part(member.name)) is None:
                            continue
                        key, part = part_of
                        if member.offset_data + member.size > file_size:
                            broken = f"{member.name} reaches beyond the end of the file"
                            cut = key
                            break
                        if not keys or keys[-1] != key:
                            keys.append(key)
                            places.append([absent] * len(PARTS))
                        if places[-1][part] == absent:
                            places[-1][part] = (member.offset_data, member.size)
                    end = archive.offset
            except tarfile.TarError as error:
                if not keys:
                    raise InputError(f"{self.name}: not a readable tar archive ({error})") from None
                broken = str(error)
                end = file_size
            if not broken:
                # tarfile ends in silence at a damaged header; only a block of zeros is a real end.
                file.seek(end)
                block = file.read(512)
                if len(block) < 512 or any(block):
                    broken = f"no end-of-archive mark at byte {end:,} of {file_size:,}"
        if broken and keys:
            # The last sample before the break is whole if another begins after it, or if it has all that others have.
            most = min((place.count(absent) for place in places[:-1]), default=-1)
            if keys[-1] == cut or (not cut and places[-1].count(absent) > most):
                del keys[-1], places[-1]
        if not keys:
            why = f"truncated ({broken})" if broken else "an empty shard"
            raise InputError(f"{self.name}: {why}; it holds no whole sample")
        if broken:
            self.problems.append(
                f"{self.name}: damaged or truncated, {broken}; the {len(keys)} samples before are used"
            )
        self._keys = np.array([key.encode("utf-8", "surrogateescape") for key in keys], dtype=np.bytes_)
        self._places = np.array(places, dtype=np.int64).reshape(len(keys), len(PARTS), 2)
        self.identities = _identities(keys)


def _key_and_part(name: str) -> tuple[str, int] | None:
    """The key and the column in ``PARTS`` of a member; ``None`` for members that are no part of a sample."""
    key, extension = base_plus_ext(name.removeprefix("./"))
    if not key:
        return None
    extension = extension.lower()
    if extension in PARTS[1:]:
        return key, PARTS.index(extension)
    return (key, 0) if f".{extension}" in IMAGE_SUFFIXES else None


class DirectorySource:
    """The images of a directory and its subdirectories; NAME.txt, NAME.json and NAME.regions.png lie beside NAME.jpg.

    A sample's key is its path below the directory without the suffix.

    Raises:
        InputError: no such directory, or no image in it.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.name = os.path.abspath(directory)
        self.problems: list[str] = []
        if not os.path.isdir(self.name):
            raise InputError(f"{directory}: no such directory")
        self._files: list[str] = []
        for folder, subfolders, names in os.walk(self.name):
            subfolders.sort()
            relative = os.path.relpath(folder, self.name)
            self._files += [
                os.path.normpath(os.path.join(relative, name))
                for name in sorted(names)
                if name.lower().endswith(IMAGE_SUFFIXES)
                and not name.startswith(".")
                and not name.lower().endswith(f".{PARTS[3]}")
            ]
        if not self._files:
            raise InputError(f"{directory}: holds no image ({', '.join(IMAGE_SUFFIXES)}) and no .tar shard")
        self.identities = _identities(self.key(number) for number in range(len(self._files)))

    def __len__(self) -> int:
        return len(self._files)

    def key(self, number: int) -> str:
        return Path(self._files[number]).with_suffix("").as_posix()

    def read(self, number: int, part: int) -> bytes | None:
        path = Path(self.name, self._files[number])
        if part:
            path = path.with_name(f"{path.stem}.{PARTS[part]}")
            if not path.exists():
                return None
        return path.read_bytes()


def find_sources(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Source]:
    """Open what ``paths`` names: tar files, directories, globs, and brace lists such as ``train-{00000..00005}.tar``.

    A directory stands for the tar shards in it or, where it has none, for its images. Order is that of ``paths``; what
    a directory or a glob yields is sorted by name.

    Raises:
        InputError: a path that names nothing, or a shard or directory that holds no sample; it names the path.
    """
    patterns = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not patterns:
        raise InputError("paths: an empty list; give tar shards, globs or directories of images")
    sources: list[Source] = []
    for pattern in patterns:
        for path in _expand(os.fspath(pattern)):
            if not os.path.isdir(path):
                sources.append(ShardSource(path))
            elif shards := sorted(Path(path).glob("*.tar")):
                sources += [ShardSource(shard) for shard in shards]
            else:
                sources.append(DirectorySource(path))
    return sources


def _expand(pattern: str) -> list[str]:
    pattern = os.path.expanduser(pattern)
    if os.path.exists(pattern):  # a name that happens to contain braces or brackets
        return [pattern]
    expanded = []
    for alternative in braceexpand.braceexpand(pattern):
        if not glob.has_magic(alternative):
            expanded.append(alternative)
        elif found := sorted(glob.glob(alternative, recursive=True)):
            expanded += found
        else:
            raise InputError(f"{pattern}: no file matches")
    for path in expanded:
        if not os.path.exists(path):
            raise InputError(f"{path}: no such file or directory")
    return expanded
