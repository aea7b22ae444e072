"""What lies in a folder and in those below it: shards, and files that may be parts of samples."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from gptface.data.parts import Tally, key_and_part

__all__ = ["FolderContents", "list_folder"]

COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
RECORDS = ("_stats.json", ".parquet")  # what img2dataset and write_shards put beside a shard of the same name


@dataclass
class FolderContents:
    """Paths below a folder, with ``/``; shards and files each in the order of their names, folder by folder.

    Attributes:
        shards: tar files.
        files: names that may be parts of samples.
        ignored: everything else, by reason.
    """

    shards: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    ignored: Tally = field(default_factory=Tally)


def list_folder(root: str) -> FolderContents:
    """List a folder in all depths.

    Links to folders are followed once everything that lies there by itself is listed, and no folder is read twice, so
    that links may lead in circles. Hidden files and folders (whose names begin with a dot: checkpoints of editors,
    resource forks, version control) are left out.
    """
    contents = FolderContents()
    seen: set[tuple[int, int]] = set()
    links: list[str] = []
    _walk(root, "", contents, seen, links)
    while links:
        following, links = sorted(links), []
        for link in following:
            _walk(root, link, contents, seen, links)
    contents.shards.sort(key=_in_order)
    contents.files.sort(key=_in_order)
    return contents


def _in_order(path: str) -> list[str]:
    """Sorts a folder's own files before those of its folders, as a walk gives them."""
    *folders, name = path.split("/")
    return [*(f"\1{folder}" for folder in folders), f"\0{name}"]


def _walk(root: str, relative: str, contents: FolderContents, seen: set[tuple[int, int]], links: list[str]) -> None:
    waiting = [relative]
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(os.path.join(root, folder))
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                contents.ignored.add("folder_again", folder)
                continue
            with os.scandir(os.path.join(root, folder)) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError:
            if not folder:
                raise
            contents.ignored.add("broken_link", folder)
            continue
        seen.add(identity)
        names = {entry.name for entry in entries}
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if _is_folder(entry):
                if entry.name.startswith("."):
                    contents.ignored.add("hidden", f"{path}/")
                elif entry.is_symlink():
                    links.append(path)
                else:
                    waiting.append(path)
            else:
                _file(entry, path, names, contents)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _file(entry: os.DirEntry[str], path: str, names: set[str], contents: FolderContents) -> None:
    lower, hidden = entry.name.lower(), entry.name.startswith(".")
    shard = lower.endswith(".tar")
    if any(lower.endswith(suffix) and f"{entry.name[: -len(suffix)]}.tar" in names for suffix in RECORDS):
        return
    if not shard and key_and_part(path) is None:
        if not hidden:  # of a hidden file only what would be read otherwise is worth a word
            contents.ignored.add("compressed_shard" if lower.endswith(COMPRESSED_SUFFIXES) else "other_file", path)
    elif hidden:
        contents.ignored.add("hidden", path)
    elif not os.path.isfile(entry.path):
        contents.ignored.add("broken_link", path)
    else:
        (contents.shards if shard else contents.files).append(path)
