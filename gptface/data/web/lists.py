"""LAION-Face's lists of sample ids and of detected faces, brought from ``.pth`` files to tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gptface.data.web.pickle_stream import stream_integers, stream_items
from gptface.errors import InputError
from gptface.files import atomic_write

__all__ = ["detected_faces", "faces_type", "write_detections", "write_ids"]

BATCH = 20_000  # rows in memory
LARGEST_ID = 1 << 63


def faces_type() -> Any:
    """pyarrow's type of the faces of a picture: box (left, top, right, bottom), five points (x, y), score; pixels."""
    import pyarrow as pa

    numbers = pa.list_(pa.float32())
    return pa.list_(pa.struct([("box", numbers), ("landmarks", pa.list_(numbers)), ("score", pa.float32())]))


def write_ids(source: Path, target: Path) -> dict[str, Any]:
    """All sample ids of ``laion_face_ids.pth``, or of a text with one a line, as a table with the column sample_id.

    Returns:
        counts: ``ids``.

    Raises:
        InputError: no such file, or something else in it; it names file and line.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    batches = _lines(source) if source.suffix.lower() in (".txt", ".csv") else stream_integers(source)
    count = 0
    schema = pa.schema([("sample_id", pa.int64())])
    with atomic_write(target) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for batch in batches:
            if any(not -LARGEST_ID <= number < LARGEST_ID for number in batch):
                raise InputError(f"{source}: a sample id of more than 64 bits")
            writer.write_table(pa.table({"sample_id": pa.array(batch, pa.int64())}, schema))
            count += len(batch)
    return {"ids": count}


def _lines(source: Path) -> Iterator[list[int]]:
    try:
        with open(source, encoding="utf-8") as file:
            batch: list[int] = []
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    batch.append(int(line))
                except ValueError:
                    raise InputError(f"{source}, line {number}: {line.strip()[:40]!r} is no sample id") from None
                if len(batch) == BATCH:
                    yield batch
                    batch = []
            yield batch
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot be read ({error})") from None


def write_detections(source: Path, target: Path) -> dict[str, Any]:
    """A ``sample2detect_*.pth`` as a table with the columns sample_id and faces; at most ``BATCH`` rows in memory.

    Returns:
        counts: ``detections`` read, of which ``bad_detections`` have no sample id, or faces that are none.

    Raises:
        InputError: no such file, or no dictionary of faces.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    schema = pa.schema([("sample_id", pa.int64()), ("faces", faces_type())])
    count = bad = 0
    ids: list[int] = []
    faces: list[list[dict[str, Any]]] = []
    with atomic_write(target) as temporary, parquet.ParquetWriter(temporary, schema) as writer:

        def write() -> None:
            table = {"sample_id": pa.array(ids, pa.int64()), "faces": pa.array(faces, faces_type())}
            writer.write_table(pa.table(table, schema))
            ids.clear()
            faces.clear()

        for key, value in stream_items(source):
            count += 1
            found = detected_faces(value)
            if found is None or not isinstance(key, (int, np.integer)) or not -LARGEST_ID <= key < LARGEST_ID:
                bad += 1
                continue
            ids.append(int(key))
            faces.append(found)
            if len(ids) == BATCH:
                write()
        write()
    if count and bad == count:
        raise InputError(f"{source}: none of its {count} entries is a list of (box, landmarks, score) by sample id")
    return {"detections": count, "bad_detections": bad}


def detected_faces(value: Any) -> list[dict[str, Any]] | None:
    """The faces of a picture from a list of (box, five points, score); ``None`` where a number is missing or odd."""
    if not isinstance(value, (list, tuple)):
        return None
    faces = []
    for face in value:
        try:
            box, points, score = face
            box = np.asarray(box, dtype=np.float32).reshape(-1)
            points = np.asarray(points, dtype=np.float32).reshape(-1, 2)
            score = float(np.asarray(score, dtype=np.float32).reshape(()))
        except (TypeError, ValueError):
            return None
        whole = len(box) == 4 and len(points) == 5 and np.isfinite(box).all() and np.isfinite(points).all()
        if not whole or not math.isfinite(score):
            return None
        faces.append({"box": box.tolist(), "landmarks": points.tolist(), "score": score})
    return faces
