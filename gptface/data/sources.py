"""The data section of a configuration as data sets of samples."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from gptface.data.configuration import DataSection
from gptface.data.decoding import FirstSamples, ManyCaptions
from gptface.data.known_regions import KnownRegions
from gptface.data.landmark_files import LandmarkTable
from gptface.data.paths import expand_paths
from gptface.data.procedural import ProceduralFaces
from gptface.data.sample import Samples
from gptface.data.shard_index import named_files
from gptface.data.shards import FaceShards
from gptface.data.token_faces import TokenFaces, token_files
from gptface.data.web.step import PLAN, SUMMARY, read_record
from gptface.errors import InputError

__all__ = ["has_validation", "open_faces", "open_tokens", "source_identity"]

logger = logging.getLogger("gptface.data")

VALIDATION_START = 1 << 30  # first index of held-out procedural faces: no training set reaches it


def has_validation(data: DataSection) -> bool:
    """Whether anything is held out."""
    return data.validation_count > 0 and (data.source == "procedural" or bool(data.validation))


def open_faces(data: DataSection, split: str) -> Samples:
    """The samples of ``split``: ``"train"`` or ``"validation"``.

    Raises:
        InputError: no such files, nothing in them, nothing held out, or token shards, which hold no pictures.
    """
    _check_held_out(data, split)
    if data.source == "tokens":
        raise InputError("data.source: token shards hold no pictures, which this needs; allowed: procedural, shards")
    if data.source == "procedural":
        start, count = (0, data.count) if split == "train" else (VALIDATION_START, data.validation_count)
        faces = ProceduralFaces(
            data.seed,
            data.image_size,
            start=start,
            count=count,
            correlation=data.correlation,
            detail=data.caption_detail,
            unusual=data.unusual,
        )
        return ManyCaptions(faces, data.captions_per_face) if data.captions_per_face > 1 and split == "train" else faces
    train = expand_paths(data.train, "data.train")
    if split == "train":
        return _face_shards(data, "train", train)
    held_out = expand_paths(data.validation, "data.validation")
    dataset = _face_shards(data, "validation", held_out)
    _warn_of_shared(named_files(train) & named_files(held_out))
    return FirstSamples(dataset, data.validation_count)


def open_tokens(data: DataSection, split: str) -> TokenFaces:
    """The faces of the token shards of ``split``: ``"train"`` or ``"validation"``.

    Raises:
        InputError: no such files, no token shards, none of their faces, or nothing held out.
    """
    _check_held_out(data, split)
    paths = expand_paths(getattr(data, split), f"data.{split}")
    for path in paths:
        if not (read_record(Path(path) / SUMMARY) or {"complete": not (Path(path) / PLAN).exists()}).get("complete"):
            logger.warning("data.%s: the encoding in %s has not come to its end; what is there is read", split, path)
    train = token_files(expand_paths(data.train, "data.train"))
    if split == "train":
        return TokenFaces(train)
    held_out = token_files(paths)
    _warn_of_shared({*map(os.path.realpath, train)} & {*map(os.path.realpath, held_out)})
    return TokenFaces(held_out, data.validation_count)


def _check_held_out(data: DataSection, split: str) -> None:
    if split == "validation" and not has_validation(data):
        raise InputError("data.validation: nothing is held out in this configuration")


def _warn_of_shared(files: set[str]) -> None:
    if files:
        logger.warning(
            "data.validation: %d of its shards and images are in data.train too, such as %s: they are not held out",
            len(files),
            min(files),
        )


def _face_shards(data: DataSection, split: str, paths: list[str]) -> KnownRegions:
    field = "landmarks" if split == "train" else "validation_landmarks"
    files = getattr(data, field)
    if not files:
        return KnownRegions(FaceShards(paths, data.image_size), None, data.template)
    table = LandmarkTable(files, f"data.{field}")
    faces = FaceShards(paths, data.image_size, table)
    count, strange = table.matched(faces.keys(), f"data.{split}")
    remarks = [f"landmarks of {count} of {len(faces)} samples in data.{field}"]
    if strange:
        remarks.append(f"{len(strange)} names in data.{field} are of no sample, such as {strange[0]}")
    return KnownRegions(faces, table, data.template, remarks)


def source_identity(data: DataSection, split: str, dataset: Samples) -> dict[str, Any]:
    """What determines the samples of ``split``: numbers for procedural faces; names, sizes and times for files.

    Args:
        dataset: as ``open_faces`` gives it.
    """
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
            "unusual": data.unusual,
        }
    known = dataset.whole if isinstance(dataset, FirstSamples) else dataset
    assert isinstance(known, KnownRegions) and isinstance(known.whole, FaceShards)
    return {
        "source": "shards",
        "files": known.whole.identity(),
        "count": None if split == "train" else len(dataset),
        "landmarks": known.landmarks.identity() if known.landmarks is not None else [],
        "template": known.template,
    }
