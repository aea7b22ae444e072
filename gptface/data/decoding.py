"""Decoding or rendering a data set on all cores.

Worker processes import this module and the data set's own, so it stays clear of torch: they start in a moment.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from gptface.data.known_landmarks import known_landmarks
from gptface.data.labels import known_labels
from gptface.data.procedural import ProceduralFaces, describe
from gptface.data.sample import Sample, Samples, Skipped
from gptface.errors import InputError

__all__ = ["DecodedFaces", "FirstSamples", "ManyCaptions", "decoded_chunks"]

CHUNK = 64
IN_PROCESS = 512  # fewer samples than this are not worth starting processes for


class FirstSamples:
    """The first ``count`` samples of a data set."""

    def __init__(self, dataset: Samples, count: int) -> None:
        self._dataset = dataset
        self._count = min(count, len(dataset))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample | Skipped:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._dataset[index]

    @property
    def whole(self) -> Samples:
        """The data set that these are the first of."""
        return self._dataset


class ManyCaptions:
    """Procedural faces with several captions each, in ``metadata["captions"]``; the first is the face's own."""

    def __init__(self, faces: ProceduralFaces, captions: int) -> None:
        self._faces = faces
        self._captions = captions

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> Sample:
        faces, sample = self._faces, self._faces[index]
        face = faces.specification(index)
        others = (
            describe(face, faces.seed + (number << 32), faces.start + index, faces.correlation, faces.detail)
            for number in range(1, self._captions)
        )
        sample.metadata["captions"] = [sample.caption, *others]
        return sample


@dataclass
class DecodedFaces:
    """The usable samples of a chunk.

    Attributes:
        images: the bytes of uint8 (n, S, S, 3).
        region_maps: the bytes of uint8 (n, S, S); ``None`` where one of the samples has no map.
        captions: n lists of captions, none of them empty.
        sample_ids: int64 (n,).
        attributes: float32 (n, A), 0 or 1, NaN where unknown or hidden (see ``labels``).
        expressions: int64 (n,), ``labels.UNKNOWN`` where unknown.
        landmarks: float32 (n, 68, 2), pixels of the picture, NaN where unknown.
        skipped: samples left out, by reason.
        notes: lesser faults of samples in use, likewise.
        regions: samples in use by what their region map was made of.
    """

    images: bytes
    region_maps: bytes | None
    captions: list[list[str]]
    sample_ids: np.ndarray
    attributes: np.ndarray
    expressions: np.ndarray
    landmarks: np.ndarray
    skipped: Counter[str]
    notes: Counter[str]
    regions: Counter[str]


def decode_chunk(dataset: Samples, chunk: range) -> DecodedFaces:
    """Read the samples of ``chunk``; what cannot be used is counted."""
    samples: list[Sample] = []
    skipped: Counter[str] = Counter()
    for index in chunk:
        try:
            item = dataset[index]
        except InputError as error:
            item = Skipped(str(index), getattr(error, "reason", "invalid_sample"), str(error))
        if isinstance(item, Skipped):
            skipped[item.reason] += 1
        else:
            samples.append(item)
    attributes, expressions = known_labels(samples)
    maps = [sample.region_map.tobytes() for sample in samples if sample.region_map is not None]
    return DecodedFaces(
        b"".join(sample.image.tobytes() for sample in samples),
        b"".join(maps) if len(maps) == len(samples) else None,
        [sample.captions for sample in samples],
        np.array([sample.sample_id for sample in samples], dtype=np.int64),
        attributes,
        expressions,
        known_landmarks(samples),
        skipped,
        Counter(note for sample in samples for note in sample.metadata.get("reading_notes", ())),
        Counter(sample.metadata["regions_from"] for sample in samples if "regions_from" in sample.metadata),
    )


def decoded_chunks(dataset: Samples) -> Iterator[tuple[float, DecodedFaces]]:
    """``(share done, chunk)`` in the data set's order, decoded by as many processes as there are cores if that pays.

    Raises:
        InputError: a process was killed.
    """
    count = len(dataset)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count < IN_PROCESS or cores == 1:
        for done, chunk in enumerate(chunks, start=1):
            yield done / len(chunks), decode_chunk(dataset, chunk)
        return
    # Not fork: torch's threads may hold locks by now.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(cores, len(chunks)), context, _begin, (dataset,)) as pool:
        try:
            for done, part in enumerate(pool.map(_decode_in_worker, chunks), start=1):
                yield done / len(chunks), part
        except BrokenProcessPool:
            raise InputError(
                "data: a process that decodes images ended early; it was killed (most likely for want of memory), or a "
                'script started the training outside `if __name__ == "__main__":`'
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_dataset: Samples | None = None


def _begin(dataset: Samples) -> None:
    global _dataset
    _dataset = dataset


def _decode_in_worker(chunk: range) -> DecodedFaces:
    assert _dataset is not None
    return decode_chunk(_dataset, chunk)
