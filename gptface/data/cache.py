"""Every face of a data set decoded once, as flat files that all stages map into memory."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from gptface.data.configuration import DataSection
from gptface.data.decoding import decoded_chunks
from gptface.data.reading import Reading
from gptface.data.sample import Samples
from gptface.data.sources import open_faces, source_identity
from gptface.errors import InputError
from gptface.files import atomic_directory
from gptface.progress import Display, format_duration

__all__ = ["FaceCache", "cached_faces"]

FORMAT = 7


@dataclass
class FaceCache:
    """A data set in memory-mapped files; N faces of S pixels a side.

    Attributes:
        folder: where the files lie.
        images: uint8 (N, S, S, 3).
        region_maps: uint8 (N, S, S), or ``None`` where not every face has one.
        sample_ids: int64 (N,).
        attributes: float32 (N, A), 0 or 1, NaN where unknown or hidden; the columns are ``LABELLED_ATTRIBUTES``.
        expressions: int64 (N,), index into ``LABELLED_EXPRESSIONS``, −100 where unknown.
        landmarks: float32 (N, 68, 2), pixels of the picture, NaN where unknown.
        skipped: samples left out, by reason.
        notes: lesser faults of samples in use, likewise.
        regions: samples by what their region map was made of: ``"label maps"``, ``"landmarks"`` or ``"the template"``.
    """

    folder: Path
    images: np.ndarray
    region_maps: np.ndarray | None
    sample_ids: np.ndarray
    attributes: np.ndarray
    expressions: np.ndarray
    landmarks: np.ndarray
    skipped: Counter[str]
    notes: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.sample_ids)

    @cached_property
    def captions(self) -> list[list[str]]:
        """N lists of captions, each of one or more."""
        return list(json.loads((self.folder / "captions.json").read_text(encoding="utf-8")))

    @cached_property
    def image_tensor(self) -> torch.Tensor:
        """``images`` as a tensor over the same pages."""
        return torch.from_numpy(self.images)


def cached_faces(
    data: DataSection, split: str, output: Path, accelerator: Accelerator | None = None, verbose: bool = True
) -> FaceCache:
    """Open the cache of ``split`` (``"train"`` or ``"validation"``), made first where it is missing.

    It lies in ``data.cache_directory``, else in ``output/cache``, under a name that says what is in it, so that another
    configuration never reads it by mistake, and nor does the same one when a file of its source has changed. With
    several processes the first one makes it; that one says once what was read, skipped and ignored.

    Raises:
        InputError: nothing usable in the source.
        OSError: it cannot be written; nothing half-written remains.
    """
    dataset = open_faces(data, split)
    identity = {"format": FORMAT, "size": data.image_size, **source_identity(data, split, dataset)}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    root = Path(data.cache_directory).expanduser() if data.cache_directory else output / "cache"
    folder = root / f"{split}-{digest}"
    main = accelerator is None or accelerator.is_main_process
    begun, made = time.monotonic(), False
    if main and not (folder / "description.json").is_file():
        _make(dataset, folder, identity, split, verbose)
        made = True
    if accelerator is not None:
        accelerator.wait_for_everyone()
    cache = _open(folder)
    if main:
        how = f"decoded in {format_duration(time.monotonic() - begun)}" if made else "decoded before"
        reading = Reading.of(dataset, len(cache), cache.skipped, cache.notes, cache.regions)
        display = Display(f"faces ({split})", verbose)
        for line in reading.lines(f"faces ({split})", f"{how} into {folder}"):
            display.line(line)
    return cache


def _open(folder: Path) -> FaceCache:
    try:
        description = json.loads((folder / "description.json").read_text(encoding="utf-8"))
        count, size = int(description["faces"]), int(description["size"])

        def mapped(name: str, shape: tuple[int, ...]) -> np.ndarray:
            # Copy on write: a tensor over the pages is then an ordinary one, and the file stays as it is.
            return np.memmap(folder / name, dtype=np.uint8, mode="c", shape=shape)

        labels = np.load(folder / "labels.npz")
        return FaceCache(
            folder,
            mapped("images.bin", (count, size, size, 3)),
            mapped("regions.bin", (count, size, size)) if description["region_maps"] else None,
            labels["sample_ids"],
            labels["attributes"],
            labels["expressions"],
            labels["landmarks"],
            Counter(description["skipped"]),
            Counter(description["notes"]),
            Counter(description["regions"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: is not a readable face cache ({error}); remove it to have it made again") from None


def _make(dataset: Samples, folder: Path, identity: dict[str, Any], split: str, verbose: bool) -> None:
    begun, count = time.monotonic(), len(dataset)
    skipped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    origins: Counter[str] = Counter()
    captions: list[list[str]] = []
    labels: list[tuple[np.ndarray, ...]] = []
    mapped = True
    with (
        Display(f"faces ({split})", verbose) as display,
        atomic_directory(folder) as temporary,
        open(temporary / "images.bin", "wb") as images,
        open(temporary / "regions.bin", "wb") as regions,
    ):
        for share, part in decoded_chunks(dataset):
            skipped.update(part.skipped)
            notes.update(part.notes)
            origins.update(part.regions)
            captions += part.captions
            labels.append((part.sample_ids, part.attributes, part.expressions, part.landmarks))
            images.write(part.images)
            mapped = mapped and part.region_maps is not None
            if mapped and part.region_maps is not None:
                regions.write(part.region_maps)
            display.advance(share, f"{format_duration((time.monotonic() - begun) * (1 - share) / share)} left")
        if not captions:
            reasons = ", ".join(f"{number} {reason}" for reason, number in skipped.most_common())
            raise InputError(f"data.{split}: none of its {count} samples can be used ({reasons})")
        ids, attributes, expressions, marks = (np.concatenate(column) for column in zip(*labels, strict=True))
        with open(temporary / "labels.npz", "wb") as file:
            np.savez(file, sample_ids=ids, attributes=attributes, expressions=expressions, landmarks=marks)
        (temporary / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
        description = {
            "faces": len(captions),
            "size": identity["size"],
            "region_maps": mapped,
            "skipped": dict(skipped),
            "notes": dict(notes),
            "regions": dict(origins),
            "source": identity,
        }
        (temporary / "description.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
