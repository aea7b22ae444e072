"""Captioned faces from tar shards or directories, by sample number; what cannot be used is named, never raised."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from gptface.data.images import UnusableImage, centre_square, load_image
from gptface.data.sample import Sample, Skipped
from gptface.data.shard_index import PARTS, find_sources, key_identity
from gptface.errors import InputError
from gptface.faces.regions import REGIONS

__all__ = ["SAMPLE_NOTES", "FaceShards"]

logger = logging.getLogger("gptface.data")

MINIMUM_SIDE = 16  # pixels; of a face on fewer nothing can be learned

SAMPLE_NOTES: dict[str, str] = {
    "missing_caption": "neither a caption file nor a caption in the metadata: the caption is empty",
    "non_utf8_caption": "the caption is not UTF-8: the bytes that are wrong became U+FFFD",
    "bad_json": "the metadata do not parse as a JSON object: they are empty",
    "bad_landmarks": "no (N, 2) coordinates, or the metadata do not give the image's width and height: there are none",
    "bad_region_map": "the region map does not decode, does not fit the image, or has unknown labels: there is none",
}
"""What may be amiss with a sample that is used all the same, as listed in its ``metadata["reading_notes"]``."""


class FaceShards:
    """A map-style data set of ``Sample`` over webdataset tars as img2dataset writes them, and over directories.

    A sample is KEY.jpg (.png, .webp, ...), KEY.txt (its caption), KEY.json (metadata) and, where ``write_shards`` wrote
    one, KEY.regions.png (labels of facial regions). ``dataset[i]`` never raises for what lies in the files: an item is
    a ``Sample``, or a ``Skipped`` whose reason is one of ``gptface.data.images.IMAGE_PROBLEMS``, ``"missing_image"`` or
    ``"unreadable_shard"``. Lesser faults (``SAMPLE_NOTES``) leave the sample in use and are
    listed in ``metadata["reading_notes"]``; the loader counts both.

    ``metadata`` are the json's (img2dataset's fields, ``expression``, ``attributes``, ...) with ``key``; ``landmarks``,
    an (N, 2) list of pixel coordinates, follow the image's resampling.

    A sample's identity is ``key_identity`` of its key, independent of the shard it lies in.

    Args:
        paths: tar files, directories, globs and brace lists (``find_sources``).
        size: side in pixels; images and region maps are cropped to the centred square and resampled. ``None`` keeps
            each image's own size.

    Raises:
        InputError: at construction, naming the file: nothing found, an empty or unreadable shard, a compressed one.
            A truncated shard is used up to the break; ``problems`` says so, and a warning is logged.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        size: int | None = None,
    ) -> None:
        if size is not None and size < 1:
            raise InputError(f"size: {size} pixels; it must be at least 1, or None")
        self.size = size
        self._sources = find_sources(paths)
        self._starts = np.cumsum([0] + [len(source) for source in self._sources])
        self.problems: list[str] = [problem for source in self._sources for problem in source.problems]
        self.sample_ids = self._identify()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """The sample's key: its name in its shard, or its path below its directory without the suffix."""
        source, number = self._locate(index)
        return self._sources[source].key(number)

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
        metadata = _parse_metadata(texts[1], notes)
        metadata.pop("reading_notes", None)
        caption = _parse_caption(texts[0], metadata, notes)
        if not caption:
            notes.append("missing_caption")
        if self.size is not None and "landmarks" in metadata:
            _fit_landmarks(metadata, self.size, notes)
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
            self.problems.append(f"{len(renamed)} of {len(identities)} keys occur in more than one shard")
            logger.warning("%s; their identities depend on the order of the shards", self.problems[-1])
        return identities


def _parse_metadata(text: bytes | None, notes: list[str]) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        notes.append("bad_json")
        return {}
    return parsed


def _parse_caption(text: bytes | None, metadata: dict[str, Any], notes: list[str]) -> str:
    """The caption on one line, from the caption file or, where there is none, img2dataset's ``caption`` field."""
    caption = ""
    if text is not None:
        encoding = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        try:
            caption = text.decode(encoding)
        except UnicodeDecodeError:
            caption = text.decode("utf-8", "replace")
            notes.append("non_utf8_caption")
    caption = _one_line(caption)
    if not caption and isinstance(metadata.get("caption"), str):
        caption = _one_line(metadata["caption"])
    return caption


def _one_line(text: str) -> str:
    return re.sub(r"[\s\x00]+", " ", text).strip()


def _fit_landmarks(metadata: dict[str, Any], size: int, notes: list[str]) -> None:
    """Bring ``landmarks`` from the stored image's pixels to those of its centred square at ``size``."""
    try:
        points = np.array(metadata["landmarks"], dtype=np.float32)
        left, top, right, _ = centre_square(int(metadata["width"]), int(metadata["height"]))
        if points.ndim != 2 or points.shape[1] != 2 or right <= left:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        del metadata["landmarks"]
        notes.append("bad_landmarks")
        return
    metadata["landmarks"] = (points - np.array([left, top], dtype=np.float32)) * (size / (right - left))


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
