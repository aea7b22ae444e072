"""Tiny folders as each step leaves them, for the tests of the next one."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from webdataset import TarWriter

__all__ = [
    *("FIVE", "detection", "draw_face", "jpeg", "needs_web", "read_rows"),
    *("write_fetched", "write_metadata", "write_pickle"),
]

needs_web = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("pyarrow", "duckdb", "cv2")),
    reason='needs the extra: pip install "gptface[web]"',
)

FIVE = np.array([[60.0, 50.0], [100.0, 50.0], [80.0, 75.0], [65.0, 95.0], [95.0, 95.0]])
"""Five points of a face in a picture of 160 × 120 pixels."""


def read_rows(*paths: Path) -> list[dict[str, Any]]:
    """The rows of parquet files."""
    import pyarrow.parquet as parquet

    return [row for path in paths for row in parquet.read_table(path).to_pylist()]


def detection(points: np.ndarray = FIVE, score: float = 0.99, side: float = 80.0) -> tuple[Any, Any, Any]:
    """(box, landmarks, score), as LAION-Face's lists hold it."""
    centre = points.mean(0)
    box = np.concatenate([centre - side / 2, centre + side / 2]).astype(np.float32)
    return box, points.astype(np.float32), np.float32(score)


def write_pickle(path: Path, value: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def write_metadata(path: Path, ids: Sequence[int | None], **columns: Any) -> Path:
    """A parquet as LAION-400M's: SAMPLE_ID, URL, TEXT and what else is given; ``None`` drops a column."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table: dict[str, Any] = {
        "SAMPLE_ID": list(ids),
        "URL": [f"https://host.example/{number}.jpg" for number in ids],
        "TEXT": [f"picture {number}" for number in ids],
        **columns,
    }
    parquet.write_table(pa.table({name: values for name, values in table.items() if values is not None}), path)
    return path


def draw_face(seed: int, width: int = 160, height: int = 120, points: np.ndarray = FIVE) -> Image.Image:
    """A smooth random picture with a red left eye, a green right eye and a blue mouth at the points."""
    coarse = np.random.default_rng(seed).integers(60, 200, (6, 8, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    for place, colour in ((points[0], 0), (points[1], 1), ((points[3] + points[4]) / 2, 2)):
        x, y = np.round(place).astype(int)
        image[max(0, y - 5) : y + 5, max(0, x - 5) : x + 5] = 0
        image[max(0, y - 5) : y + 5, max(0, x - 5) : x + 5, colour] = 255
    return Image.fromarray(image)


def jpeg(image: Image.Image, quality: int = 95, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def write_fetched(folder: Path, samples: Sequence[dict[str, Any]], name: str = "00000") -> Path:
    """A shard with img2dataset's record; a sample is ``image`` (bytes), ``caption``, and the json's fields."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.tar", "wb") as file, TarWriter(file, encoder=False) as archive:
        for number, sample in enumerate(samples):
            fields = {"sample_id": number, "url": f"https://host.example/{number}.jpg", **sample}
            image, caption = fields.pop("image"), fields.pop("caption", f"face {number}")
            text = fields.pop("json", None) or json.dumps(fields)
            key = f"{int(name) * 10 + number:09d}"
            archive.write({"__key__": key, "jpg": image, "txt": caption.encode(), "json": text.encode()})
    record = {"count": len(samples), "successes": len(samples), "status_dict": {"success": len(samples)}}
    (folder / f"{name}_stats.json").write_text(json.dumps(record))
    return folder
