"""Which files make a sample: the naming rule of shards and of folders, one for both.

KEY.jpg (.png, .webp, ...) is the image, KEY.txt its caption, KEY.json its metadata, KEY.regions.png its labels of
facial regions; suffixes in any case. A key may hold dots, and its parts may lie anywhere in their shard. What no sample
needs is counted by reason, with an example, never passed over in silence.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gptface.data.images import IMAGE_SUFFIXES

__all__ = ["IGNORED", "PARTS", "Grouping", "Tally", "group_parts", "is_hidden", "is_image", "key_and_part"]

PARTS = ("image", "txt", "json", "regions.png")
"""The parts of a sample, by their column in an index."""

IGNORED: dict[str, str] = {
    "hidden": "the name of the file, or of a folder it lies in, begins with a dot",
    "other_file": "neither an image nor the caption, metadata or region map of one",
    "further_part": "NAME.more.suffix beside the image of NAME: a part of that sample that is not read",
    "second_part": "the sample has such a part already: of several images, captions, ... the first by name counts",
    "no_image": "a caption, metadata or region map without an image",
    "link_in_shard": "a link inside a tar shard",
    "broken_link": "a link to a file or folder that is not there, or a folder that cannot be opened",
    "folder_again": "a link to a folder that is read under another name",
    "compressed_shard": "shards are read at random, so they must be unpacked once",
}
"""Why something that lies in a source is no part of its samples."""


class Tally:
    """Counts by reason, each with the first example."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, reason: str, example: str, count: int = 1) -> None:
        self.counts[reason] += count
        self.examples.setdefault(reason, example)

    def update(self, other: Tally) -> None:
        for reason, count in other.counts.items():
            self.add(reason, other.examples[reason], count)


@dataclass
class Grouping:
    """Names grouped into samples.

    Attributes:
        keys: of the samples, in the order in which their first parts come.
        members: for every sample, the place among the names of each part in ``PARTS``; -1 where it has none.
        ignored: names that are no part of a sample.
    """

    keys: list[str] = field(default_factory=list)
    members: list[list[int]] = field(default_factory=list)
    ignored: Tally = field(default_factory=Tally)


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder of its path, begins with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def key_and_part(name: str) -> tuple[str, int] | None:
    """The key and the column in ``PARTS`` that a name speaks of; ``None`` for a name of another kind."""
    lower = name.lower()
    for part in (3, 1, 2):
        if lower.endswith(f".{PARTS[part]}"):
            return name[: -len(PARTS[part]) - 1], part
    stem, suffix = posixpath.splitext(name)
    return (stem, 0) if suffix.lower() in IMAGE_SUFFIXES else None


def is_image(name: str) -> bool:
    """Whether a name is that of a sample's image."""
    found = key_and_part(name)
    return found is not None and found[1] == 0


def group_parts(names: Sequence[str]) -> Grouping:
    """Group the names of a shard's members, or of a folder's files, into samples.

    Dots: as webdataset has it, ``0001.seg.png`` beside ``0001.jpg`` is a further part of sample ``0001``; but a picture
    that has a caption, metadata or a region map of its own, or no such neighbour, is the sample ``0001.seg``.

    A name that occurs again, as in shards that were joined, begins another sample of the same key.
    """
    result = Grouping()
    parsed: list[tuple[int, str, int]] = []
    pictures: set[str] = set()
    described: set[str] = set()
    for place, name in enumerate(names):
        clean = posixpath.normpath(name)
        if is_hidden(clean):
            result.ignored.add("hidden", name)
        elif (found := key_and_part(clean)) is None:
            result.ignored.add("other_file", name)
        else:
            key, part = found
            parsed.append((place, key, part))
            if part == 0:
                pictures.add(key)
            else:
                described.add(key)
    latest: dict[str, int] = {}
    for place, key, part in parsed:
        if not (key in pictures and key in described) and any(shorter in pictures for shorter in _shorter(key)):
            result.ignored.add("further_part", names[place])
            continue
        number = latest.get(key)
        if number is None or _occurs_again(names, result.members[number][part], place):
            number = latest[key] = len(result.keys)
            result.keys.append(key)
            result.members.append([-1] * len(PARTS))
        if result.members[number][part] < 0:
            result.members[number][part] = place
        else:
            result.ignored.add("second_part", names[place])
    return result


def _shorter(key: str) -> Iterator[str]:
    """The keys that end at a dot within the last component of ``key``."""
    start = key.rfind("/") + 1
    while (end := key.rfind(".", start)) > start:
        key = key[:end]
        yield key


def _occurs_again(names: Sequence[str], first: int, place: int) -> bool:
    return first >= 0 and names[first] == names[place]
