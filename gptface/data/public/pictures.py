"""A published picture and its label map as they become a sample; what is wrong with the picture makes a ``Skipped``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gptface.data.images import UnusableImage, centre_square, image_size, load_image
from gptface.data.metadata import fit_points
from gptface.data.sample import Sample, Skipped
from gptface.data.shard_index import key_identity
from gptface.errors import InputError

__all__ = ["Pictures", "PublishedFace", "check_size", "check_split", "fit_labels", "read_sample"]


def check_size(size: int | None) -> None:
    """Refuse a side below one pixel."""
    if size is not None and size < 1:
        raise InputError(f"size: {size} pixels; it must be at least 1, or None")


def check_split(split: str | None, splits: tuple[str, ...]) -> None:
    """Refuse a split that is none of ``splits``; ``None`` stands for all of them."""
    if split is not None and split not in splits:
        raise InputError(f"split: {split!r}; choose {', '.join(splits)}")


def fit_labels(labels: np.ndarray, size: int | None, shape: tuple[int, int]) -> np.ndarray:
    """uint8 labels brought to those of the picture's centred square at ``size``, or to its ``shape``, by nearest."""
    picture = Image.fromarray(labels.astype(np.uint8))
    if size is not None:
        box = centre_square(*picture.size)
        return np.array(picture.resize((size, size), Image.Resampling.NEAREST, box=box))
    height, width = shape
    return np.array(picture if picture.size == (width, height) else picture.resize((width, height), 0))


def read_sample(
    picture: Path | bytes,
    key: str,
    size: int | None,
    metadata: dict[str, Any],
    labels: Callable[[], np.ndarray] | None = None,
    caption: str = "",
    published: Callable[[], np.ndarray] | None = None,
) -> Sample | Skipped:
    """The sample of a picture.

    Args:
        picture: its path, or its encoded bytes.
        size: side in pixels of the centred square that is returned; ``None`` keeps the picture's own.
        metadata: its fields; those that begin with ``landmarks``, (N, 2), and ``box`` (left, top, right, bottom), in
            pixels of the picture as it is stored, are brought to the pixels of what is returned.
        labels: gives the label map of the stored picture, or raises ``UnusableImage``.
        caption: the text beside it.
        published: gives the labels in the set's own classes, which become ``metadata["published_labels"]``.
    """
    name = key if isinstance(picture, bytes) else str(picture)
    try:
        encoded = picture if isinstance(picture, bytes) else picture.read_bytes()
    except OSError as error:
        return Skipped(key, "missing_image", f"{picture!s}: cannot be read ({error.strerror})")
    try:
        image = load_image(encoded, size, name=name)
        region_map = None if labels is None else fit_labels(labels(), size, image.shape[:2])
        own = None if published is None else fit_labels(published(), size, image.shape[:2])
    except UnusableImage as problem:
        return Skipped(key, problem.reason, str(problem))
    fields: dict[str, Any] = {"key": key, **metadata}
    if own is not None:
        fields["published_labels"] = own
    if size is not None:
        for field_name, value in metadata.items():
            if field_name.startswith("landmarks") or field_name == "box":
                points = np.asarray(value, dtype=np.float32)
                fitted = fit_points(points.reshape(-1, 2), image_size(encoded), size)
                fields[field_name] = fitted.reshape(points.shape)
    return Sample(image, caption, key_identity(key), fields, region_map)


@dataclass
class PublishedFace:
    """A face of a public set before its picture is read.

    Attributes:
        key: its name.
        picture: path.
        metadata: fields of the sample, as :func:`read_sample` takes them.
        caption: the text beside it.
    """

    key: str
    picture: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    caption: str = ""


class Pictures:
    """A map-style data set of published faces, whose pictures are read when they are asked for.

    Args:
        size: side in pixels of the centred square that is returned; ``None`` keeps the pictures' own.
    """

    def __init__(self, size: int | None) -> None:
        check_size(size)
        self.size = size
        self._faces: list[PublishedFace] = []

    def __len__(self) -> int:
        return len(self._faces)

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return (self[index] for index in range(len(self)))

    def key(self, index: int) -> str:
        """The face's name, usually its picture's path below the folder without the suffix."""
        return self._faces[index].key

    def __getitem__(self, index: int) -> Sample | Skipped:
        face = self._faces[index]
        return read_sample(face.picture, face.key, self.size, face.metadata, caption=face.caption)
