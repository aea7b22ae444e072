"""Faces in memory, to measure a system on: read from a data set, or drawn afresh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptface.data.decoding import FirstSamples
from gptface.data.procedural import ProceduralFaces
from gptface.data.reading import Reading
from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.progress import Display

__all__ = ["HELD_OUT_SEED", "FaceSet", "collect_faces", "procedural_faces", "shard_faces"]

# Of procedural faces that no training has seen: its seeds are small, and another seed is another world of faces.
HELD_OUT_SEED = 1_000_003


@dataclass
class FaceSet:
    """Faces in the order of their data set.

    Attributes:
        images: uint8 ``(N, H, W, 3)``.
        captions: one a face, maybe empty.
        samples: the samples themselves (metadata, region maps).
        skipped: how many entries of the data set could not be used, by reason.
    """

    images: np.ndarray
    captions: list[str]
    samples: list[Sample]
    skipped: dict[str, int]


def collect_faces(dataset: Any, count: int | None = None) -> FaceSet:
    """The first ``count`` usable samples of a map-style data set (by default all).

    Raises:
        InputError: there is none.
    """
    samples: list[Sample] = []
    skipped: dict[str, int] = {}
    for index in range(len(dataset)):
        if count is not None and len(samples) >= count:
            break
        item = dataset[index]
        if isinstance(item, Sample):
            samples.append(item)
        else:
            skipped[item.reason] = skipped.get(item.reason, 0) + 1
    if not samples:
        raise InputError(f"the data set has no usable face (skipped: {skipped or 'nothing'})")
    images = np.stack([sample.image for sample in samples])
    return FaceSet(images, [sample.caption for sample in samples], samples, skipped)


def shard_faces(paths: Sequence[str], size: int, count: int | None = None) -> FaceSet:
    """The first ``count`` faces of shards, globs or directories, at ``size``² pixels.

    Says once, on stderr, what was read, skipped and ignored.
    """
    dataset = FaceShards(list(paths), size)
    faces = collect_faces(dataset, count)
    read = len(faces.samples) + sum(faces.skipped.values())
    notes = Counter(note for sample in faces.samples for note in sample.metadata.get("reading_notes", ()))
    reading = Reading.of(FirstSamples(dataset, read), len(faces.samples), faces.skipped, notes)
    display = Display("faces")
    for line in reading.lines("faces", "decoded into memory"):
        display.line(line)
    return faces


def procedural_faces(count: int, size: int, seed: int = HELD_OUT_SEED) -> FaceSet:
    """``count`` procedural faces of ``seed``, each with a caption that describes it."""
    return collect_faces(ProceduralFaces(seed=seed, size=size, start=0, count=count))
