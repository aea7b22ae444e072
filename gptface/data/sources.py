"""The data section of a configuration as data sets of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gptface.data.configuration import DataSection
from gptface.data.decoding import FirstSamples, ManyCaptions
from gptface.data.paths import expand_paths
from gptface.data.procedural import ProceduralFaces
from gptface.data.sample import Samples
from gptface.data.shard_index import find_sources
from gptface.data.shards import FaceShards
from gptface.errors import InputError

__all__ = ["has_validation", "open_faces", "source_identity"]

VALIDATION_START = 1 << 30  # first index of held-out procedural faces: no training set reaches it


def has_validation(data: DataSection) -> bool:
    """Whether anything is held out."""
    return data.validation_count > 0 and (data.source == "procedural" or bool(data.validation))


def open_faces(data: DataSection, split: str) -> Samples:
    """The samples of ``split``: ``"train"`` or ``"validation"``.

    Raises:
        InputError: no such files, nothing in them, or nothing held out.
    """
    if split == "validation" and not has_validation(data):
        raise InputError("data.validation: nothing is held out in this configuration")
    if data.source == "procedural":
        start, count = (0, data.count) if split == "train" else (VALIDATION_START, data.validation_count)
        faces = ProceduralFaces(
            data.seed,
            data.image_size,
            start=start,
            count=count,
            correlation=data.correlation,
            detail=data.caption_detail,
        )
        return ManyCaptions(faces, data.captions_per_face) if data.captions_per_face > 1 and split == "train" else faces
    paths = expand_paths(data.train if split == "train" else data.validation, f"data.{split}")
    dataset = FaceShards(paths, data.image_size)
    return dataset if split == "train" else FirstSamples(dataset, data.validation_count)


def source_identity(data: DataSection, split: str) -> dict[str, Any]:
    """What determines the samples of ``split``: numbers for procedural faces; names, sizes and times for files."""
    if data.source == "procedural":
        count = data.count if split == "train" else data.validation_count
        captions = data.captions_per_face if split == "train" else 1
        return {
            "source": "procedural",
            "seed": data.seed,
            "count": count,
            "captions": captions,
            "correlation": data.correlation,
            "detail": data.caption_detail,
        }
    paths = expand_paths(data.train if split == "train" else data.validation, f"data.{split}")
    files = []
    for source in find_sources(paths):
        status = Path(source.name).stat()
        files.append([source.name, len(source), status.st_size, status.st_mtime_ns])
    limit = None if split == "train" else data.validation_count
    return {"source": "shards", "files": files, "count": limit}
