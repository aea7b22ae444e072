"""A published picture and its label map as they become a sample; what is wrong with the picture makes a ``Skipped``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gptface.data.images import UnusableImage, centre_square, image_size, load_image
from gptface.data.metadata import fit_points
from gptface.data.sample import Sample, Skipped
from gptface.data.shard_index import key_identity

__all__ = ["fit_labels", "read_sample"]


def fit_labels(labels: np.ndarray, size: int | None, shape: tuple[int, int]) -> np.ndarray:
    """uint8 labels brought to those of the picture's centred square at ``size``, or to its ``shape``, by nearest."""
    picture = Image.fromarray(labels.astype(np.uint8))
    if size is not None:
        box = centre_square(*picture.size)
        return np.array(picture.resize((size, size), Image.Resampling.NEAREST, box=box))
    height, width = shape
    return np.array(picture if picture.size == (width, height) else picture.resize((width, height), 0))


def read_sample(
    path: Path,
    key: str,
    size: int | None,
    metadata: dict[str, Any],
    labels: Callable[[], np.ndarray] | None = None,
) -> Sample | Skipped:
    """The sample of a picture.

    Args:
        path: of the picture.
        size: side in pixels of the centred square that is returned; ``None`` keeps the picture's own.
        metadata: its fields; those that begin with ``landmarks``, (N, 2) in pixels of the picture as it is stored, are
            brought to the pixels of what is returned.
        labels: gives the label map of the stored picture, or raises ``UnusableImage``.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        return Skipped(key, "missing_image", f"{path}: cannot be read ({error.strerror})")
    try:
        image = load_image(encoded, size, name=str(path))
        region_map = None if labels is None else fit_labels(labels(), size, image.shape[:2])
    except UnusableImage as problem:
        return Skipped(key, problem.reason, str(problem))
    fields: dict[str, Any] = {"key": key}
    for name, value in metadata.items():
        moved = name.startswith("landmarks") and size is not None
        fields[name] = fit_points(value, image_size(encoded), size) if moved and size is not None else value
    return Sample(image, "", key_identity(key), fields, region_map)
