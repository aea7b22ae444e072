"""FaceCaption-15M and HumanCaption-10M (Dai et al. 2024) as they are published: parquet tables of addresses and texts.

The tables hold no pictures. HumanCaption names them (column ``image``, a path); FaceCaption does not, and a picture
that was fetched is sought under its row's ``_id``, in ``pictures/`` beside the tables.

FaceCaption's columns are taken from people's programs that read ``FaceCaption-v2.parquet``: ``_id``, ``url``,
``caption`` and ``laion_caption`` (lists of one text) and ``box`` (JSON: left, top, right, bottom in pixels of the whole
picture); its card names the same contents for v1 without the columns' names. HumanCaption's: ``url``, ``image``,
``human_caption``. A table with other columns is refused, and the sentence names those that it has.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gptface.data.images import UnusableImage, encode_image, load_image
from gptface.data.public.caption_files import clean
from gptface.data.public.pictures import check_size, read_sample
from gptface.data.sample import Sample, Skipped
from gptface.errors import InputError

__all__ = ["FACE_TABLES", "HUMAN_TABLES", "TABLE_COLUMNS", "CaptionTable"]

FACE_TABLES = ("FaceCaption-v2.parquet", "FaceCaption-v1.parquet")
HUMAN_TABLES = ("HumanCaption-10M.parquet",)
TABLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "FaceCaption-15M": ("_id", "url", "caption", "box"),
    "HumanCaption-10M": ("image", "url", "human_caption"),
}
OPTIONAL = "laion_caption"
SUFFIXES = (".jpg", ".png", ".webp", ".jpeg")
ROOM = 1.5  # side of the square that is cut out, by the longer side of FaceCaption's box: the box ends at the chin


class CaptionTable:
    """A map-style data set of ``Sample``: rows of a table with their pictures, where those were fetched.

    FaceCaption's pictures are cut to a square around the row's face, since its texts speak of nothing else; its sample
    has ``metadata["box"]``. Both have ``captions`` (FaceCaption's last one is the text that the web had) and ``url``. A
    picture that was not fetched, and a row that cannot be used, make a ``Skipped``. One row group of a table is in
    memory at a time: reading in order is fast, at random slow.

    Args:
        folder: with the tables, or HumanCaption's or FaceCaption's parquet files in folders of any name below.
        split: ``train`` or ``None``; the sets have no other.
        size: side in pixels of the centred square that is returned; ``None`` keeps the picture's own, or the cut's.
        pictures: where they lie; by default ``pictures/`` in the folder, and for HumanCaption the folder itself.

    Raises:
        InputError: there is no table, one lacks a column, or pyarrow is absent.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: str | None = None,
        size: int | None = None,
        pictures: str | os.PathLike[str] | None = None,
    ) -> None:
        if split not in (None, "train"):
            raise InputError(f"split: {split!r}; these tables have train alone")
        check_size(size)
        self.folder, self.size = Path(folder), size
        self.tables = find_tables(self.folder)
        self.name = _kind(self.tables[0])
        if other := next((path for path in self.tables if _kind(path) != self.name), None):
            raise InputError(f"{other}: is of another set than {self.tables[0].name}; one folder, one set")
        inner = self.folder / "pictures"
        self.pictures = Path(pictures) if pictures is not None else inner if inner.is_dir() else self.folder
        # Row groups of all tables, one after the other: (table, its group), and the first row of each.
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = [0]
        for path in self.tables:
            metadata = _open(path).metadata
            for group in range(metadata.num_row_groups):
                self._groups.append((path, group))
                self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._held: tuple[int, list[dict[str, Any]]] = (-1, [])
        if not len(self):
            raise InputError(f"{self.tables[0]}: holds no row")

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return (self[index] for index in range(len(self)))

    def _row(self, index: int) -> tuple[dict[str, Any], str]:
        """A row, and what errors call it."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._starts, index) - 1
        path, group = self._groups[number]
        if self._held[0] != number:
            file = _open(path)
            present = [name for name in (*TABLE_COLUMNS[self.name], OPTIONAL) if name in file.schema_arrow.names]
            self._held = (number, file.read_row_group(group, columns=present).to_pylist())
        first = next(start for start, (other, _) in zip(self._starts, self._groups, strict=False) if other == path)
        return self._held[1][index - self._starts[number]], f"{path}, row {index - first}"

    def key(self, index: int) -> str:
        """The row's ``_id``, or its picture's path without the suffix; its number where it has none."""
        row, _ = self._row(index)
        name = row[TABLE_COLUMNS[self.name][0]]
        if not isinstance(name, str) or not name:
            return str(index)
        return name if self.name == "FaceCaption-15M" else name.rpartition(".")[0] or name

    def __getitem__(self, index: int) -> Sample | Skipped:
        row, where = self._row(index)
        key, name = self.key(index), row[TABLE_COLUMNS[self.name][0]]
        captions = _texts(row["caption" if self.name == "FaceCaption-15M" else "human_caption"])
        if not isinstance(name, str) or not name or ".." in Path(name).parts or Path(name).is_absolute():
            return Skipped(key, "bad_row", f"{where}: {name!r} names no picture")
        if not captions:
            return Skipped(key, "bad_row", f"{where}: has no description")
        metadata: dict[str, Any] = {
            "captions": captions + _texts(row.get(OPTIONAL)),
            "url": row["url"],
            "split": "train",
        }
        if self.name == "HumanCaption-10M":
            return read_sample(self.pictures / name, key, self.size, metadata, None, captions[0])
        box = _box(row["box"])
        if box is None:
            return Skipped(key, "bad_row", f"{where}: {str(row['box'])[:60]!r} is no box of a face")
        found = [self.pictures / f"{name}{suffix}" for suffix in SUFFIXES]
        path = next((path for path in found if path.exists()), found[0])
        try:
            picture, metadata["box"] = _cut(load_image(path), box)
        except UnusableImage as problem:
            reason = "missing_image" if problem.reason == "missing_file" else problem.reason
            return Skipped(key, reason, str(problem))
        return read_sample(picture, key, self.size, metadata, None, captions[0])


def find_tables(folder: Path) -> list[Path]:
    """The parquet files of a folder: a published name first, else every one in it or below ``default/``.

    Raises:
        InputError: there is none.
    """
    for name in (*FACE_TABLES, *HUMAN_TABLES):
        if (folder / name).exists():
            return [folder / name]
    found = sorted(folder.glob("*.parquet")) or sorted((folder / "default").rglob("*.parquet"))
    if not found:
        sought = ", ".join((*FACE_TABLES, *HUMAN_TABLES, "*.parquet", "default/**/*.parquet"))
        raise InputError(f"{folder}: a table is missing; sought: {sought}")
    return found


def _open(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise InputError(f'{path}: parquet needs pyarrow: pip install "gptface[web]"') from None
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # a broken file fails in any way there is
        raise InputError(f"{path}: no parquet file that can be read ({error})") from None


def _kind(path: Path) -> str:
    columns = list(_open(path).schema_arrow.names)
    for name, needed in TABLE_COLUMNS.items():
        if set(needed) <= set(columns):
            return name
    needs = "; ".join(f"{name}: {', '.join(needed)}" for name, needed in TABLE_COLUMNS.items())
    raise InputError(f"{path}: has the columns {', '.join(columns)}; needed: {needs}")


def _texts(value: Any) -> list[str]:
    """The captions in a text or a list of them."""
    texts = value if isinstance(value, list) else [value]
    return clean(text for text in texts if isinstance(text, str))


def _box(value: Any) -> np.ndarray | None:
    """float64 (4,) of a box's JSON or list; ``None`` where it is none."""
    try:
        box = np.asarray(json.loads(value) if isinstance(value, str) else value, dtype=np.float64)
    except (TypeError, ValueError, RecursionError):
        return None
    whole = box.shape == (4,) and bool(np.isfinite(box).all()) and box[0] < box[2] and box[1] < box[3]
    return box if whole else None


def _cut(image: np.ndarray, box: np.ndarray) -> tuple[bytes, np.ndarray]:
    """The square around a box, as far as the picture has it, encoded without loss; and the box in its pixels.

    Raises:
        UnusableImage: the box lies outside the picture.
    """
    height, width = image.shape[:2]
    side = min(ROOM * max(box[2] - box[0], box[3] - box[1]), width, height)
    left = np.clip((box[0] + box[2] - side) / 2, 0, width - side)
    top = np.clip((box[1] + box[3] - side) / 2, 0, height - side)
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        raise UnusableImage(
            "corrupt_image", f"the face's box {box.tolist()} lies outside its {width} × {height} pixels"
        )
    first, above, last, below = (round(float(value)) for value in (left, top, left + side, top + side))
    cut = image[above : max(below, above + 1), first : max(last, first + 1)]
    return encode_image(cut), (box - [first, above, first, above]).astype(np.float32)
