"""Every face of fetched pictures brought to a template; what `filtering` asks about it is measured on the way.

A unit is a shard: NNNNN.tar gives NNNNN.tar (KEY-FACE.jpg, .txt, .json) and NNNNN.parquet (a row a face, ``SCHEMA``).
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from webdataset import TarWriter

from gptface.data.images import UnusableImage
from gptface.data.landmark_files import LandmarkTable
from gptface.data.metadata import without_surrogates
from gptface.data.shard_index import ShardSource, expand_pattern
from gptface.data.web.extra import require
from gptface.data.web.fetching import complete_shards
from gptface.data.web.perceptual_hash import WORDS, perceptual_hash
from gptface.data.web.step import open_step, sum_counts
from gptface.data.web.units import Unit, run_units
from gptface.data.web.warping import SourcePicture, warp
from gptface.errors import InputError
from gptface.faces.alignment import alignment_anchors, alignment_matrix, apply_alignment
from gptface.faces.templates import TEMPLATES
from gptface.files import atomic_write

__all__ = ["ALIGNED_COLUMNS", "PICTURE_REASONS", "AlignWish", "align"]

PICTURE_REASONS = {
    "no_picture": "there is no image among the sample's parts",
    "no_landmarks": "nothing says where a face is",
    "bad_metadata": "the json is no object",
    "another_picture": "its sides are not in the proportion that the list knows: the address has another picture now",
    "no_whole_face": "none of its faces could be used",
    # and the reasons of gptface.data.images
}
FACE_REASONS = {
    "bad_landmarks": "points that are not finite, or lie as in no face",
    "too_small": "the face spans fewer pixels than asked",
    "outside": "the face lies beyond the picture",
}
ALIGNED_COLUMNS = {
    "key": "string", "picture": "string", "sample_id": "int64", "url": "string", "sha256": "string",
    "face": "int32", "faces": "int32", "score": "float32", "side": "float32", "outside": "float32",
    "width": "int32", "height": "int32", "similarity": "float64", "nsfw": "string",
    **{f"face_hash_{word}": "int64" for word in range(WORDS)},
    **{f"picture_hash_{word}": "int64" for word in range(WORDS)},
}  # fmt: skip
"""What is known of every face: names and pyarrow's types."""

DROPPED = ("faces", "landmarks", "caption", "exif", "status", "error_message", "key", "width", "height")
PROPORTION = 0.03  # by which a picture's sides may differ from the listed ones: rounding of small pictures
FACE_OF_EYES_AND_MOUTH = 2.4  # a detector's box is about so many times as high as the way from the eyes to the mouth


@dataclass(frozen=True)
class AlignWish:
    """How faces are aligned.

    Attributes:
        size: side of the result in pixels.
        template: a name of ``gptface.faces.templates.TEMPLATES``.
        landmarks: .npz files of points by key (``gptface.data.landmark_files``), before what the pictures' json say.
        smallest: pixels that a face must span in its picture.
        quality: of the JPEGs.
    """

    size: int = 224
    template: str = "portrait"
    landmarks: tuple[str, ...] = ()
    smallest: int = 32
    quality: int = 95


def align(
    fetched: Path | list[str],
    output: Path,
    wish: AlignWish,
    *,
    processes: int = 1,
    ray: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Align the shards of a fetch that are complete, or any shards; returns the summary.

    Called again, it goes on, and takes in what has been fetched since.

    Raises:
        InputError: no shards, or an option that is none.
    """
    require("cv2", "pyarrow")
    if wish.template not in TEMPLATES:
        raise InputError(f"template: {wish.template!r}; choose {', '.join(TEMPLATES)}")
    if not 16 <= wish.size <= 2048 or not 1 <= wish.quality <= 100:
        raise InputError(f"size, quality: {wish.size}, {wish.quality}; allowed: 16 to 2048 pixels, 1 to 100")
    shards = complete_shards(fetched) if isinstance(fetched, Path) else _shards(fetched)
    if not shards:
        raise InputError(f"input: {fetched} holds no shard that is complete")
    if len({shard.stem for shard in shards}) < len(shards):
        raise InputError("input: two shards of the same name; give one folder at a time")
    LandmarkTable(wish.landmarks, "landmarks")  # what is wrong with it is said before anything is written
    source = str(fetched.resolve()) if isinstance(fetched, Path) else str(shards[0].parent.resolve())
    with open_step(output, "align", {"input": source, **asdict(wish)}, quiet=quiet) as step:
        units = [
            Unit(shard.stem, (str(shard.resolve()), str(output.resolve()), wish), shard.stat().st_size)
            for shard in shards
        ]
        failures = run_units(step, "aligning", units, align_shard, processes=processes, ray=ray)
        records = [record for unit in units if (record := step.record(unit.name))]
        counts = sum_counts(records)
        for record in records:
            for problem in record["problems"]:
                step.say(problem)
        check_counts(counts)
        return step.finish({"shards": len(records), "failed_shards": len(failures), **counts}, complete=not failures)


def _shards(patterns: list[str]) -> list[Path]:
    found = [Path(path) for pattern in patterns for path in expand_pattern(pattern)]
    return [shard for path in found for shard in (sorted(path.glob("*.tar")) if path.is_dir() else [path])]


def check_counts(counts: dict[str, Any]) -> None:
    """Every picture and every face is somewhere."""
    if counts and (
        counts["pictures"] != counts["pictures_used"] + sum(counts["pictures_left_out"].values())
        or counts["faces"] != counts["faces_aligned"] + sum(counts["faces_left_out"].values())
    ):
        raise RuntimeError(f"the counts of the alignment do not add up: {counts}")


@dataclass(frozen=True)
class _Face:
    points: np.ndarray  # (N, 2), pixels of the stored picture
    box: tuple[float, ...] | None
    score: float | None


def align_shard(name: str, source: str, output: str, wish: AlignWish) -> dict[str, Any]:
    """The unit of :func:`align`; returns its counts."""
    import cv2
    import pyarrow as pa
    import pyarrow.parquet as parquet

    cv2.setNumThreads(1)  # the processes are as many as there are cores
    shard = ShardSource(source)
    table = LandmarkTable(wish.landmarks, "landmarks") if wish.landmarks else None
    lost: Counter[str] = Counter()
    lost_faces: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    used = faces = 0
    target = Path(output) / f"{name}.tar"
    with (
        atomic_write(target) as temporary,
        open(temporary, "wb") as file,
        TarWriter(file, encoder=False, mtime=0, user="", group="") as archive,
    ):
        for number in range(len(shard)):
            try:
                found, metadata, upright = _faces(shard, number, table)
                faces += len(found)
                before = len(rows)
                aligned = _aligned(shard, number, found, metadata, upright, wish, lost_faces)
                caption = shard.read(number, 1) or b""
                for row, encoded, about in aligned:
                    rows.append(row)
                    archive.write({"__key__": row["key"], "jpg": encoded, "txt": caption, "json": about})
                if len(rows) == before:
                    raise UnusableImage("no_whole_face", "")
                used += 1
            except UnusableImage as problem:
                lost[problem.reason] += 1
    schema = pa.schema([(column, getattr(pa, kind)()) for column, kind in ALIGNED_COLUMNS.items()])
    with atomic_write(target.with_suffix(".parquet")) as temporary:
        parquet.write_table(pa.Table.from_pylist(rows, schema), temporary)
    lost_faces["in_lost_pictures"] += faces - len(rows) - sum(lost_faces.values())
    return {
        "pictures": len(shard),
        "pictures_used": used,
        "pictures_left_out": dict(lost),
        "faces": faces,
        "faces_aligned": len(rows),
        "faces_left_out": {reason: count for reason, count in lost_faces.items() if count},
        "problems": shard.problems,
    }


def _faces(shard: ShardSource, number: int, table: LandmarkTable | None) -> tuple[list[_Face], dict[str, Any], bool]:
    """Faces of a picture, its metadata, and whether the points lie in the upright picture."""
    text = shard.read(number, 2)
    try:
        metadata = json.loads(text) if text is not None else {}
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise UnusableImage("bad_metadata", shard.key(number))
    known = None if table is None else table.get(shard.key(number))
    if known is not None:
        return [_Face(known, None, None)], metadata, True
    found = metadata.get("faces")
    if isinstance(found, list) and found:
        return [_published(face) for face in found], metadata, False
    if isinstance(metadata.get("landmarks"), list):
        return [_Face(_points(metadata["landmarks"]), None, None)], metadata, True
    raise UnusableImage("no_landmarks", shard.key(number))


_NO_POINTS = np.full((5, 2), np.nan)


def _points(value: Any) -> np.ndarray:
    try:
        points = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return _NO_POINTS
    return points if points.ndim == 2 and points.shape[1] == 2 else _NO_POINTS


def _published(face: Any) -> _Face:
    if not isinstance(face, dict):
        return _Face(_NO_POINTS, None, None)
    box, score = face.get("box"), face.get("score")
    whole = isinstance(box, list) and len(box) == 4 and all(isinstance(side, (int, float)) for side in box)
    return _Face(
        _points(face.get("landmarks")),
        tuple(map(float, box)) if whole and box else None,
        float(score) if isinstance(score, (int, float)) and math.isfinite(score) else None,
    )


def _aligned(
    shard: ShardSource,
    number: int,
    faces: list[_Face],
    metadata: dict[str, Any],
    upright: bool,
    wish: AlignWish,
    lost: Counter[str],
) -> list[tuple[dict[str, Any], bytes, bytes]]:
    key = shard.key(number)
    encoded = shard.read(number, 0)
    if not encoded:
        raise UnusableImage("no_picture", key)
    picture = SourcePicture(encoded, key, upright)
    width, height = picture.size
    stretch = 1.0 if upright else _stretch(metadata, width, height)
    planned = []
    for index, face in enumerate(faces):
        points = face.points * stretch
        try:
            anchors = alignment_anchors(points)
            matrix = alignment_matrix(points, TEMPLATES[wish.template], wish.size)
        except InputError:
            lost["bad_landmarks"] += 1
            continue
        if face.box is not None:
            side = max(face.box[2] - face.box[0], face.box[3] - face.box[1]) * stretch
        else:
            side = FACE_OF_EYES_AND_MOUTH * float(np.linalg.norm(anchors[2] - anchors[:2].mean(0)))
        if not math.isfinite(side) or side < wish.smallest:
            lost["too_small"] += 1
        else:
            planned.append((index, face, points, matrix, side))
    if not planned:
        return []
    scale = max(math.sqrt(abs(np.linalg.det(matrix[:, :2]))) for _, _, _, matrix, _ in planned)
    image, across, down = picture.decode(scale)
    whole = perceptual_hash(image)
    kept = {name: value for name, value in metadata.items() if name not in DROPPED}
    result = []
    for index, face, points, matrix, side in planned:
        square, outside = warp(image, matrix @ np.diag([1 / across, 1 / down, 1]), wish.size)
        if outside >= 1:
            lost["outside"] += 1
            continue
        row: dict[str, Any] = {
            "key": f"{key}-{index}",
            "picture": key,
            "sample_id": _whole(metadata.get("sample_id")),
            "url": _text(metadata.get("url")),
            "sha256": _text(metadata.get("sha256")),
            "face": index,
            "faces": len(faces),
            "score": face.score,
            "side": side,
            "outside": outside,
            "width": width,
            "height": height,
            "similarity": _number(metadata.get("similarity")),
            "nsfw": _text(metadata.get("nsfw")),
        }
        row.update({f"face_hash_{place}": word for place, word in enumerate(perceptual_hash(square))})
        row.update({f"picture_hash_{place}": word for place, word in enumerate(whole)})
        about = {
            **kept,
            "width": wish.size,
            "height": wish.size,
            "picture": {"width": width, "height": height, "faces": len(faces), "face": index},
            "face": {"side": round(side, 1), "outside": round(outside, 3), "score": face.score},
            "landmarks": np.round(apply_alignment(matrix, points), 2).tolist(),
        }
        text = without_surrogates(json.dumps(about, ensure_ascii=False)).encode("utf-8")
        result.append((row, _jpeg(square, wish.quality), text))
    return result


def _stretch(metadata: dict[str, Any], width: int, height: int) -> float:
    """From the pixels in which a face is listed to those of the picture as it is now.

    Raises:
        UnusableImage: its proportions are others: it is not the picture that was listed.
    """
    for names in (("listed_width", "listed_height"), ("original_width", "original_height")):
        listed_width, listed_height = (_number(metadata.get(name)) or 0.0 for name in names)
        if listed_width > 0 and listed_height > 0:
            across, down = width / listed_width, height / listed_height
            if abs(across - down) > PROPORTION * max(across, down):
                raise UnusableImage("another_picture", "")
            return math.sqrt(across * down)
    return 1.0


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _whole(value: Any) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    return value if fits else None


def _number(value: Any) -> float | None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fits else None


def _text(value: Any) -> str | None:
    return without_surrogates(value) if isinstance(value, str) else None
