"""Where every sample's parts lie: inside webdataset tar shards, or as files of a directory.

Exact resume and a global shuffle need random access by sample number. The ``webdataset`` library reads shards as
streams (its random-access companion ``wids`` is a package of its own since webdataset 1.0 and wants index files made
beforehand), so what is used of it here is its naming rule (see ``parts``) and its shard-list notation, and the members'
places come from the standard library's ``tarfile``: one pass over the headers when a data set is opened, and one
``pread`` per part afterwards. Nothing is unpacked, and worker processes share nothing but the page cache.
"""

from __future__ import annotations

import glob
import hashlib
import os
import tarfile
import uuid
from collections.abc import Iterable, Sequence
from typing import IO, Protocol

import braceexpand
import numpy as np

from gptface.data.folders import list_folder
from gptface.data.images import IMAGE_SUFFIXES
from gptface.data.open_files import open_files
from gptface.data.parts import Tally, group_parts, is_image
from gptface.errors import InputError

__all__ = ["DirectorySource", "ShardSource", "Source", "expand_pattern", "find_sources", "key_identity", "named_files"]

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
    kind: str
    """``"shard"`` or ``"folder"``."""
    problems: list[str]
    ignored: Tally
    """What lies there and is no part of a sample, by a reason of ``parts.IGNORED``."""
    identities: np.ndarray
    """int64 (n,): ``key_identity`` of every key."""

    def __len__(self) -> int: ...

    def key(self, number: int) -> str:
        """The sample's name, unique within this source."""
        ...

    def read(self, number: int, part: int) -> bytes | None:
        """A part's bytes, ``None`` where the sample has no such part. Raises OSError when it can no longer be read."""
        ...

    def fingerprint(self) -> str:
        """A digest of the names, sizes and times of all files that are read: another one when any of them changes."""
        ...


def _fingerprint(files: Iterable[tuple[str, str]]) -> str:
    """Of (name, path) pairs. The time of the last change of status tells files that were swapped or restored apart."""
    digest = hashlib.sha256()
    for name, path in files:
        status = os.stat(path)
        facts = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0"
        digest.update(facts.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


class ShardSource:
    """The samples of one uncompressed tar shard.

    Raises:
        InputError: the file is missing, not a tar, compressed, or holds no whole sample.
    """

    kind = "shard"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.path.abspath(path)
        self.problems: list[str] = []
        self.ignored = Tally()
        self._owner = uuid.uuid4().hex
        try:
            self._scan(os.stat(self.name).st_size)
        except OSError as error:
            raise InputError(f"{path}: the shard cannot be read ({error.strerror or error})") from None

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, number: int) -> str:
        return str(self._keys[number].decode("utf-8", "surrogateescape"))

    def read(self, number: int, part: int) -> bytes | None:
        offset, size = self._places[number, part].tolist()
        return None if offset < 0 else open_files.read(self._owner, self.name, offset, size)

    def fingerprint(self) -> str:
        return _fingerprint([("", self.name)])

    def _scan(self, file_size: int) -> None:
        """Fill ``_keys`` ("S", n) and ``_places`` (n, parts, 2: offset and size in bytes, -1 where absent)."""
        names: list[str] = []
        places: list[tuple[int, int]] = []
        broken, cut = "", None
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
                        if member.islnk() or member.issym():
                            self.ignored.add("link_in_shard", member.name)
                        if not member.isreg():
                            continue
                        names.append(member.name)
                        places.append((member.offset_data, member.size))
                        if member.offset_data + member.size > file_size:
                            broken, cut = f"{member.name} reaches beyond the end of the file", len(names) - 1
                            break
                    end = archive.offset
            except tarfile.TarError as error:
                if not names:
                    raise InputError(f"{self.name}: not a readable tar archive ({error})") from None
                broken = str(error)
                end = file_size
            if not broken:
                broken = self._check_end(file, end, file_size)
        groups = group_parts(names)
        self.ignored.update(groups.ignored)
        keys, members = groups.keys, groups.members
        if broken and keys:
            _drop_cut(keys, members, cut)
        if not keys:
            why = f"truncated ({broken})" if broken else "an empty shard"
            raise InputError(f"{self.name}: {why}; it holds no whole sample")
        if broken:
            self.problems.append(
                f"{self.name}: damaged or truncated, {broken}; the {len(keys)} samples before are used"
            )
        self._keys = np.array([key.encode("utf-8", "surrogateescape") for key in keys], dtype=np.bytes_)
        self._places = np.array([*places, (-1, -1)], dtype=np.int64)[np.array(members, dtype=np.int64)]
        self.identities = _identities(keys)

    def _check_end(self, file: IO[bytes], end: int, file_size: int) -> str:
        """What is wrong at the archive's end; only a block of zeros is a real one.

        tarfile ends in silence at a damaged header, and at the first of several archives in one file.
        """
        file.seek(end)
        block = file.read(512)
        if len(block) < 512 or any(block):
            return f"no end-of-archive mark at byte {end:,} of {file_size:,}"
        while block := file.read(1 << 20):
            if any(block):
                self.problems.append(
                    f"{self.name}: the archive ends at byte {end:,} of {file_size:,}, and what comes after it is not "
                    "read; if it is another archive, join them with `tar --concatenate`"
                )
                break
        return ""


def _drop_cut(keys: list[str], members: list[list[int]], cut: int | None) -> None:
    """Take out the sample that a break leaves in parts: that of the member ``cut`` where the break is in one.

    Otherwise the sample that was begun last is whole if it has all that others have.
    """
    if cut is not None:
        number = next((place for place, parts in enumerate(members) if cut in parts), None)
    else:
        most = min((parts.count(-1) for parts in members[:-1]), default=-1)
        number = len(keys) - 1 if members[-1].count(-1) > most else None
    if number is not None:
        del keys[number], members[number]


class DirectorySource:
    """The images of a directory and of those below it; NAME.txt, NAME.json and NAME.regions.png lie beside NAME.jpg.

    A sample's key is its path below the directory without the suffix.

    Args:
        directory: the folder.
        files: what lies below it, as ``folders.list_folder`` says.

    Raises:
        InputError: no image is among the files.
    """

    kind = "folder"

    def __init__(self, directory: str | os.PathLike[str], files: Sequence[str]) -> None:
        self.name = os.path.abspath(directory)
        self.problems: list[str] = []
        groups = group_parts(files)
        self.ignored = groups.ignored
        self._files = list(files)
        self._keys: list[str] = []
        members: list[list[int]] = []
        for key, parts in zip(groups.keys, groups.members, strict=True):
            if parts[0] < 0:
                for place in parts:
                    if place >= 0:
                        self.ignored.add("no_image", files[place])
            else:
                self._keys.append(key)
                members.append(parts)
        if not members:
            raise InputError(f"{directory}: holds no image ({', '.join(IMAGE_SUFFIXES)}) and no .tar shard")
        self._members = np.array(members, dtype=np.int64)
        self.identities = _identities(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, number: int) -> str:
        return self._keys[number]

    def read(self, number: int, part: int) -> bytes | None:
        place = int(self._members[number, part])
        if place < 0:
            return None
        with open(os.path.join(self.name, self._files[place]), "rb") as file:
            return file.read()

    def fingerprint(self) -> str:
        used = [self._files[place] for place in self._members.ravel().tolist() if place >= 0]
        return _fingerprint((name, os.path.join(self.name, name)) for name in used)


def find_sources(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[list[Source], Tally]:
    """Open what ``paths`` names: tar files, directories, globs, and brace lists such as ``train-{00000..00005}.tar``.

    A directory stands for all tar shards in it and in the directories below it, and then for all images there. Order is
    that of ``paths``; what a directory or a glob yields is sorted by name.

    Returns:
        the sources, and what lies in directories and is in none of them.

    Raises:
        InputError: a path that names nothing, or a shard or directory that holds no sample; it names the path.
    """
    patterns = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not patterns:
        raise InputError("paths: an empty list; give tar shards, globs or directories of images")
    sources: list[Source] = []
    ignored = Tally()
    for pattern in patterns:
        for path in expand_pattern(os.fspath(pattern)):
            if not os.path.isdir(path):
                sources.append(ShardSource(path))
            else:
                contents = list_folder(path)
                ignored.update(contents.ignored)
                sources += [ShardSource(os.path.join(path, shard)) for shard in contents.shards]
                if contents.shards and not any(is_image(name) for name in contents.files):
                    for name in contents.files:
                        ignored.add("no_image", name)
                else:
                    sources.append(DirectorySource(path, contents.files))
    return sources, ignored


def named_files(paths: Sequence[str]) -> set[str]:
    """The shards and images that ``find_sources(paths)`` would open, as real paths; nothing is opened."""
    files: set[str] = set()
    for pattern in paths:
        for path in expand_pattern(pattern):
            if os.path.isdir(path):
                contents = list_folder(path)
                names = [*contents.shards, *filter(is_image, contents.files)]
                files.update(os.path.realpath(os.path.join(path, name)) for name in names)
            else:
                files.add(os.path.realpath(path))
    return files


def expand_pattern(pattern: str) -> list[str]:
    """The files and directories that a path, glob or brace list names, sorted within each glob.

    Raises:
        InputError: there are none.
    """
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
