"""``gptface evaluate inpainting``: photos with something painted over them, and how near the filling comes.

Of each photo the original is known. A filling is measured by its pixels in the hole, and by where a regression of
landmarks sees the points that lie in it, compared with where it sees them in the original: a filling may be a fine face
and yet not this one, and a grey patch may be near in pixels and no face at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gptface.data.known_regions import KnownRegions
from gptface.data.landmark_files import LandmarkTable
from gptface.data.pixels import images_to_tensor, tensor_to_images
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.evaluation.face_set import FaceSet, collect_faces
from gptface.evaluation.landmark_faces import eye_distance
from gptface.evaluation.landmark_regression import PatchRegressor, predict_landmarks
from gptface.evaluation.metrics import cluster_bootstrap_interval, gradient_energy, outside_change_share
from gptface.evaluation.numbers import write_numbers
from gptface.evaluation.painted_masks import COVERS, covered
from gptface.evaluation.pictures import SheetRow, draw_sheet
from gptface.evaluation.result_tables import write_text
from gptface.faces.names import find
from gptface.progress import Countdown, Display
from gptface.systems.gptface.generation import DecodingSettings, FaceGenerator
from gptface.systems.gptface.generation.editing import Frame, composite, fill_hole
from gptface.systems.gptface.system import FaceSystem

__all__ = ["InpaintingTest", "inpainting_lines", "inpainting_table", "measure_inpainting"]

SYSTEM, TOLD, CEILING = "GPTFace", "GPTFace, told the caption", "its tokenizer on the original"
PLAIN, SMOOTH, MEAN_FACE = "mean of what is seen", "its surroundings, continued", "mean of the other faces"
UNFILLED = "left as painted"
AT_A_TIME = 16
SHOWN = 8  # photos of the sheet
LEAST_POINTS = 5  # in a hole, for its landmarks to be compared


@dataclass(frozen=True)
class InpaintingTest:
    """What is to be measured; the fields are the options of ``gptface evaluate inpainting``.

    Attributes:
        faces: shards, globs or directories.
        landmarks: .npz file of the faces' points, for faces without region maps of their own; they say where a cover
            lies.
        covers: names of ``COVERS``.
        count: faces at most.
        group: metadata field of the person, whom intervals draw anew.
        captions: also fill once with each face's caption as the wish.
        settings: decoding.
        seed: of the blocks' places and of the decoding.
        output, table, sheet: JSON, Markdown and PNG files, or ``None``.
        facts: further entries of the JSON.
    """

    faces: Sequence[str]
    landmarks: str | None = None
    covers: Sequence[str] = tuple(COVERS)
    count: int = 200
    group: str | None = None
    captions: bool = False
    settings: DecodingSettings | None = None
    seed: int = 0
    output: Path | None = None
    table: Path | None = None
    sheet: Path | None = None
    facts: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InputError(f"--count must be at least 2, got {self.count}")
        for name in self.covers:
            find("cover", name, COVERS)
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise InputError(f"--sheet: {self.sheet}; its name must end in .png")


@dataclass(frozen=True)
class Holes:
    """Photos and what is painted on them.

    Attributes:
        photos, painted: uint8 ``(N, S, S, 3)``.
        masks: bool ``(N, S, S)``, what is covered.
        rows: int64 ``(N,)``, which of the faces they are.
    """

    photos: np.ndarray
    painted: np.ndarray
    masks: np.ndarray
    rows: np.ndarray


def measure_inpainting(
    test: InpaintingTest, system: FaceSystem, regressor: PatchRegressor | None = None
) -> dict[str, Any]:
    """Paint, fill and compare; write what was asked for.

    Args:
        regressor: of ``gptface evaluate landmarks --save``; ``None``: pixels alone. Photos are read at its size where
            that is more than the system's.

    Returns:
        ``rows`` of ``cover``, ``name`` (of the method), ``n``; ``psnr`` in the hole, in decibels, mean over the photos;
        ``landmarks``: mean distance of the points in the hole from those seen in the original, in shares of the
        distance of the eyes, of the ``landmark_photos`` with enough points there; both with an ``…_interval`` (95 %);
        ``sharpness``: gradient energy in the hole over the original's; ``outside``: share of the pixels outside it that
        changed. With what was asked for.

    Raises:
        InputError: no usable face, or no face with the regions of a cover.
    """
    size = int(system.tokenizer.config.image_size)
    size = size if regressor is None else max(size, regressor.size)
    faces = _read(test, size)
    people = _people(faces, test.group)
    generator = FaceGenerator(system, settings=test.settings)
    seen = None if regressor is None else _points(regressor, faces.images)
    rows, sheets = [], []
    with Display("inpainting") as display:
        for name in test.covers:
            holes = _paint(faces, name, test.seed)
            fillings = _fillings(test, generator, faces, holes, Countdown(display, name, len(holes.rows)))
            points = None if seen is None else seen[holes.rows]
            for method, filled in fillings.items():
                found = None if regressor is None else _points(regressor, filled)
                rows.append({"cover": name, "name": method, **_compared(holes, filled, points, found, people)})
            sheets += _sheet_rows(name, holes, fillings)
            display.line(f"{name}: {len(holes.rows)} photos")
    summary = {
        **dict(test.facts),
        "faces": " ".join(map(str, test.faces)),
        "photos": len(faces.images),
        "size": size,
        "seed": test.seed,
        "decoding": str(test.settings or generator.settings),
        "rows": rows,
    }
    if test.sheet is not None:
        draw_sheet(test.sheet, sheets)
    if test.table is not None:
        write_text(test.table, inpainting_table(summary))
    if test.output is not None:
        write_numbers(test.output, summary)
    return summary


def _read(test: InpaintingTest, size: int) -> FaceSet:
    table = None if test.landmarks is None else LandmarkTable([test.landmarks], "landmarks")
    faces = collect_faces(KnownRegions(FaceShards(list(test.faces), size, table), table), test.count)
    without = next((sample for sample in faces.samples if sample.region_map is None), None)
    if without is not None:
        raise InputError(
            f"landmarks: {without.metadata.get('key')} has neither a region map nor landmarks; give a file of points, "
            "key and points as `gptface evaluate landmarks` takes them"
        )
    return faces


def _people(faces: FaceSet, group: str | None) -> np.ndarray:
    if group is None:
        return np.arange(len(faces.samples))
    if not any(group in sample.metadata for sample in faces.samples):
        raise InputError(f"--group: no face has a field {group!r} in its metadata")
    return np.array([str(sample.metadata.get(group, f"face {row}")) for row, sample in enumerate(faces.samples)])


def _paint(faces: FaceSet, name: str, seed: int) -> Holes:
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    painted, masks = [], []
    for image, sample in zip(faces.images, faces.samples, strict=True):
        assert sample.region_map is not None
        result, mask = covered(image, sample.region_map, name, random)
        painted.append(result)
        masks.append(mask)
    stacked = np.stack(masks)
    # A hole without surroundings, or none at all, asks nothing.
    rows = np.flatnonzero(stacked.any((1, 2)) & ~stacked.all((1, 2)))
    if not len(rows):
        raise InputError(f"covers: {name} covers nothing in any of the faces; their regions are not there")
    return Holes(faces.images[rows], np.stack(painted)[rows], stacked[rows], rows)


def _fillings(
    test: InpaintingTest, generator: FaceGenerator, faces: FaceSet, holes: Holes, progress: Countdown
) -> dict[str, np.ndarray]:
    """Every method's pictures, uint8 ``(N, S, S, 3)``."""
    wishes = {SYSTEM: [""] * len(holes.rows)}
    if test.captions:
        wishes[TOLD] = [faces.captions[row] for row in holes.rows]
    made: dict[str, list[np.ndarray]] = {name: [] for name in wishes}
    done = 0
    for start in range(0, len(holes.rows), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        for name, captions in wishes.items():
            seeds = [test.seed + int(row) for row in holes.rows[part]]
            result = generator.inpaint(list(holes.painted[part]), list(holes.masks[part]), captions[part], seeds=seeds)
            made[name] += result.images
        done += len(holes.rows[part])
        progress.advance(done)
    return {
        **{name: np.stack(images) for name, images in made.items()},
        PLAIN: np.stack([_plain(*each) for each in zip(holes.painted, holes.masks, strict=True)]),
        SMOOTH: _smooth(holes),
        MEAN_FACE: _mean_face(faces, holes),
        UNFILLED: holes.painted,
        CEILING: _reconstructed(generator, holes),
    }


def _plain(painted: np.ndarray, mask: np.ndarray) -> np.ndarray:
    filled = painted.copy()
    filled[mask] = np.rint(painted[~mask].mean(0)).astype(np.uint8)
    return filled


def _smooth(holes: Holes) -> np.ndarray:
    filled = fill_hole(images_to_tensor(holes.painted), torch.from_numpy(holes.masks))
    return np.where(holes.masks[..., None], tensor_to_images(filled), holes.painted)


def _mean_face(faces: FaceSet, holes: Holes) -> np.ndarray:
    """In each hole the mean of the other photos there, as bright as the photo around the hole has it beside theirs."""
    total, count = faces.images.sum(0, dtype=np.float64), len(faces.images)
    filled = holes.painted.copy()
    for picture, photo, mask in zip(filled, holes.photos, holes.masks, strict=True):
        others = (total - photo) / (count - 1)
        lighter = photo[~mask].mean(0) - others[~mask].mean(0)
        picture[mask] = np.clip(np.rint(others[mask] + lighter), 0, 255).astype(np.uint8)
    return filled


def _reconstructed(generator: FaceGenerator, holes: Holes) -> np.ndarray:
    """What the tokens of the original itself look like in the hole: no filling made of tokens can be expected to be
    nearer."""
    codec = generator.codec
    results = []
    for photo, mask in zip(holes.photos, holes.masks, strict=True):
        frame = Frame.of(photo, codec.image_size)
        picture = codec.pictures(codec.encode(frame.to_model(photo)[None]))[0]
        results.append(composite(photo, frame.to_photo(picture.cpu()), mask, frame))
    return np.stack(results)


def _points(regressor: PatchRegressor, images: np.ndarray) -> np.ndarray:
    return predict_landmarks(regressor, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _compared(
    holes: Holes, filled: np.ndarray, points: np.ndarray | None, found: np.ndarray | None, people: np.ndarray
) -> dict[str, Any]:
    squares = np.square(filled.astype(np.float64) - holes.photos).mean(-1)
    errors = np.array([square[mask].mean() for square, mask in zip(squares, holes.masks, strict=True)])
    decibels = 10 * np.log10(255**2 / np.maximum(errors, 1e-2))
    result: dict[str, Any] = {
        "n": len(filled),
        "psnr": float(decibels.mean()),
        "psnr_interval": list(cluster_bootstrap_interval(decibels, people[holes.rows])),
        "sharpness": gradient_energy(filled, holes.masks) / max(gradient_energy(holes.photos, holes.masks), 1e-12),
        "outside": outside_change_share(holes.photos, filled, holes.masks),
    }
    if points is None or found is None:
        return result
    side = holes.masks.shape[1]
    places = np.clip((points * side).astype(np.int64), 0, side - 1)
    inside = np.take_along_axis(holes.masks.reshape(len(places), -1), places[..., 1] * side + places[..., 0], 1)
    enough = inside.sum(1) >= LEAST_POINTS
    if not enough.any():
        return {**result, "landmarks": None, "landmarks_interval": [None, None], "landmark_photos": 0}
    moved = np.linalg.norm(found - points, axis=-1) / eye_distance(points)[:, None]
    distances = (moved * inside).sum(1)[enough] / inside.sum(1)[enough]
    interval = cluster_bootstrap_interval(distances, people[holes.rows][enough])
    return {
        **result,
        "landmarks": float(distances.mean()),
        "landmarks_interval": list(interval),
        "landmark_photos": int(enough.sum()),
    }


def _sheet_rows(name: str, holes: Holes, fillings: Mapping[str, np.ndarray]) -> list[SheetRow]:
    shown: list[tuple[str, np.ndarray]] = [("original", holes.photos), *fillings.items()]
    return [SheetRow(list(images[:SHOWN]), f"{name}: {title}") for title, images in shown]


def _told(row: Mapping[str, Any], key: str, pattern: Callable[[float], str]) -> str:
    if row.get(key) is None:
        return "–"
    low, high = row[f"{key}_interval"]
    return f"{pattern(row[key])} [{pattern(low)}, {pattern(high)}]"


def _decibels(value: float) -> str:
    return f"{value:.1f}"


def _distance(value: float) -> str:
    return f"{value:.3f}"


def inpainting_lines(summary: Mapping[str, Any]) -> list[str]:
    """A line a cover and method."""
    return [
        f"{row['cover']}, {row['name']}: PSNR {_told(row, 'psnr', _decibels)} dB, landmarks in the hole "
        f"{_told(row, 'landmarks', _distance)}, sharpness {row['sharpness']:.2f}, changed outside "
        f"{row['outside']:.1%}, n {row['n']}"
        for row in summary["rows"]
    ]


def inpainting_table(summary: Mapping[str, Any]) -> str:
    """The rows as Markdown, with what was measured on what."""
    lines = [
        f"{summary['photos']} photos of {summary['faces']} at {summary['size']}², {summary['decoding']}",
        "",
        "| cover | filled by | PSNR in the hole, dB | landmarks in the hole | sharpness | n |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['cover']} | {row['name']} | {_told(row, 'psnr', _decibels)} | "
        f"{_told(row, 'landmarks', _distance)} | {row['sharpness']:.2f} | {row['n']} |"
        for row in summary["rows"]
    ]
    return "\n".join(lines) + "\n"
