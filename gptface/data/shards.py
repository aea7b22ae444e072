"""Captioned faces from tar shards or directories, by sample number; what cannot be used is named, never raised."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from gptface.data.images import IMAGE_PROBLEMS, UnusableImage, centre_square, image_size, load_image
from gptface.data.landmark_files import LandmarkTable
from gptface.data.metadata import METADATA_NOTES, fit_landmarks, fit_points, one_line, parse_metadata
from gptface.data.parts import PARTS
from gptface.data.sample import Sample, Skipped
from gptface.data.shard_index import find_sources, key_identity
from gptface.errors import InputError
from gptface.faces.regions import REGIONS

__all__ = ["SAMPLE_NOTES", "SKIP_REASONS", "FaceShards"]

logger = logging.getLogger("gptface.data")

MINIMUM_SIDE = 16  # pixels; of a face on fewer nothing can be learned

SKIP_REASONS: dict[str, str] = {
    **IMAGE_PROBLEMS,
    "missing_image": "there is no image among its parts",
    "unreadable_shard": "the file vanished, shrank or became unreadable after it was opened",
}
"""Why a sample cannot be used."""

SAMPLE_NOTES: dict[str, str] = {
    "missing_caption": "no text in the caption file, nor in the metadata: the caption is empty",
    "non_utf8_caption": "the caption is neither UTF-8 nor UTF-16: the bytes that are wrong became U+FFFD",
    **METADATA_NOTES,
    "bad_region_map": "the region map does not decode, does not fit the image, or has unknown labels: there is none",
}
"""What may be amiss with a sample that is used all the same, as listed in its ``metadata["reading_notes"]``."""


class FaceShards:
    """A map-style data set of ``Sample`` over webdataset tars as img2dataset writes them, and over directories.

    A sample is KEY.jpg (.png, .webp, ...), KEY.txt (its caption), KEY.json (metadata) and, where ``write_shards`` wrote
    one, KEY.regions.png (labels of facial regions); ``gptface.data.parts`` has the rule. ``dataset[i]`` never raises
    for what lies in the files: an item is a ``Sample``, or a ``Skipped`` whose reason is one of ``SKIP_REASONS``.
    Lesser faults (``SAMPLE_NOTES``) leave the sample in use and are listed in ``metadata["reading_notes"]``; the loader
    counts both.

    ``metadata`` are the json's (img2dataset's fields, ``expression``, ``attributes``, ...) with ``key``, checked by
    ``gptface.data.metadata``; ``landmarks``, an (N, 2) list of pixel coordinates, follow the image's resampling, and
    ``captions``, a list of texts, are what the picture may be called in turn.

    A sample's identity is ``key_identity`` of its key, independent of the shard it lies in.

    Args:
        paths: tar files, directories, globs and brace lists (``find_sources``).
        size: side in pixels; images and region maps are cropped to the centred square and resampled. ``None`` keeps
            each image's own size.
        landmarks: points of samples by their keys; they go before those of the json.

    Raises:
        InputError: at construction, naming the file: nothing found, an empty or unreadable shard, a compressed one.
            A truncated shard is used up to the break; ``problems`` says so, and a warning is logged.

    Attributes:
        problems: sentences about whole sources.
        ignored: what lies in the sources and is no part of a sample, by a reason of ``gptface.data.parts.IGNORED``.
        shards, folders: how many of each are read.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        size: int | None = None,
        landmarks: LandmarkTable | None = None,
    ) -> None:
        if size is not None and size < 1:
            raise InputError(f"size: {size} pixels; it must be at least 1, or None")
        self.size = size
        self.landmarks = landmarks
        self._sources, self.ignored = find_sources(paths)
        self._starts = np.cumsum([0] + [len(source) for source in self._sources])
        self.problems: list[str] = []
        for source in self._sources:
            self.problems += source.problems
            self.ignored.update(source.ignored)
        self.sample_ids = self._identify()
        for problem in self.problems:
            logger.warning("%s", problem)
        kinds = [source.kind for source in self._sources]
        self.shards, self.folders = kinds.count("shard"), kinds.count("folder")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """The sample's key: its name in its shard, or its path below its directory without the suffix."""
        source, number = self._locate(index)
        return self._sources[source].key(number)

    def keys(self) -> Iterator[str]:
        """Every sample's key, in order."""
        return (source.key(number) for source in self._sources for number in range(len(source)))

    def identity(self) -> list[list[Any]]:
        """What determines the samples: name, number of samples and fingerprint of every source."""
        return [[source.name, len(source), source.fingerprint()] for source in self._sources]

    def __getitem__(self, index: int) -> Sample | Skipped:
        """Sample number ``index`` (negative ones count from the end); IndexError outside the data set."""
        source_number, number = self._locate(index)
        source = self._sources[source_number]
        key = source.key(number)
        name = f"{source.name}:{key}"
        index = int(self._starts[source_number]) + number
        try:
            encoded = source.read(number, 0)
            if encoded is None:
                return Skipped(key, "missing_image", f"{name}: no image among its parts")
            image = load_image(encoded, self.size, minimum_side=MINIMUM_SIDE, name=name)
            texts = [source.read(number, part) for part in range(1, len(PARTS))]
        except UnusableImage as problem:
            return Skipped(key, problem.reason, str(problem))
        except OSError as error:
            return Skipped(key, "unreadable_shard", f"{name}: {error}")
        notes: list[str] = []
        metadata = parse_metadata(texts[1], notes)
        caption = _parse_caption(texts[0], metadata, notes)
        if not caption:
            notes.append("missing_caption")
        points = None if self.landmarks is None else self.landmarks.get(key)
        if points is not None:
            metadata["landmarks"] = points if self.size is None else fit_points(points, image_size(encoded), self.size)
        elif self.size is not None and "landmarks" in metadata:
            fit_landmarks(metadata, self.size, notes)
        region_map = _parse_region_map(texts[2], self.size, image.shape[:2], notes)
        metadata["key"] = key
        if notes:
            metadata["reading_notes"] = notes
        return Sample(image, caption, int(self.sample_ids[index]), metadata, region_map)

    def _locate(self, index: int) -> tuple[int, int]:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"sample {index} of {count}")
        index %= count
        source = int(np.searchsorted(self._starts, index, side="right")) - 1
        return source, index - int(self._starts[source])

    def _identify(self) -> np.ndarray:
        identities = np.concatenate([source.identities for source in self._sources])
        order = np.argsort(identities, kind="stable")
        repeated = np.flatnonzero(np.diff(identities[order]) == 0) + 1
        repetition, previous = 0, -1
        renamed = []
        for place in repeated.tolist():
            repetition = repetition + 1 if place == previous + 1 else 1
            previous = place
            renamed.append((int(order[place]), repetition))
        for index, repetition in renamed:
            identities[index] = key_identity(self.key(index), repetition)
        if renamed:
            self.problems.append(
                f"{len(renamed)} of {len(identities)} keys occur in more than one shard or folder, or twice in one "
                f"(such as {self.key(renamed[0][0])}): copies, or faces whose identities depend on the order of reading"
            )
        return identities


def _parse_caption(text: bytes | None, metadata: dict[str, Any], notes: list[str]) -> str:
    """The caption on one line: of the caption file, else the metadata's ``caption``, else the first of ``captions``."""
    caption = ""
    if text is not None:
        encoding = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        try:
            caption = text.decode(encoding)
        except UnicodeDecodeError:
            caption = text.decode(encoding, "replace")
            notes.append("non_utf8_caption")
    return one_line(caption) or one_line(metadata.get("caption", "")) or metadata.get("captions", [""])[0]


def _parse_region_map(
    encoded: bytes | None, size: int | None, shape: tuple[int, ...], notes: list[str]
) -> np.ndarray | None:
    if encoded is None:
        return None
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG",)) as file:
            if file.mode in ("L", "P") and max(file.size) <= 1 << 14:
                picture: Image.Image = file
                # A label is a name, not a quantity: it is never interpolated.
                if size is not None and picture.size != (size, size):
                    box = centre_square(*picture.size)
                    picture = picture.resize((size, size), Image.Resampling.NEAREST, box=box)
                labels = np.array(picture, dtype=np.uint8)
                if labels.shape == tuple(shape) and int(labels.max()) < len(REGIONS):
                    return labels
    except Exception:  # as for images: decoders raise nearly anything
        pass
    notes.append("bad_region_map")
    return None
