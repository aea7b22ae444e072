"""Faces with landmarks, the error of found landmarks, and portraits whose pupils were marked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from gptface.data.landmark_files import LandmarkTable
from gptface.data.reading import Reading
from gptface.data.sample import Sample
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.evaluation.compact_images import compact_image, stack_images
from gptface.faces.landmark_schemes import MIRRORED
from gptface.progress import Display

__all__ = [
    "LandmarkFaces",
    "Portraits",
    "eye_centres",
    "eye_distance",
    "normalised_errors",
    "read_landmark_faces",
    "read_portraits",
]

# Points on the outline of the eye on the image's left; the other eye has their mirror images.
_EYES = {
    5: (0,),
    19: (7,),
    68: tuple(range(36, 42)),
    98: tuple(range(60, 68)),
    106: tuple(range(66, 74)),
    468: (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
}
# A face's outline may leave the picture; points farther out than this share of its side belong to another picture.
FARTHEST = 0.5


@dataclass(frozen=True)
class LandmarkFaces:
    """Faces and their points.

    Attributes:
        images: uint8 ``(N, C, S, S)``; ``C`` is 1 where every picture is grey, else 3.
        points: float32 ``(N, P, 2)``, x and y in shares of the picture's side.
        keys: names of the pictures.
        people: ``(N,)`` who is in them; each picture its own where no field of people was named.
        boxes: float32 ``(N, 2)``, width and height of the faces' boxes in shares of the picture's side, of a set whose
            errors are divided by them: profile faces have no distance between the eyes.
        subsets: bool ``(N,)`` by name: faces whose errors are told apart too.
    """

    images: np.ndarray
    points: np.ndarray
    keys: tuple[str, ...]
    people: np.ndarray
    boxes: np.ndarray | None = None
    subsets: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def lengths(self) -> np.ndarray:
        """float ``(N,)``: by which errors are divided: the diagonals of the boxes, else the :func:`eye_distance`."""
        return eye_distance(self.points) if self.boxes is None else np.linalg.norm(self.boxes, axis=-1)


@dataclass(frozen=True)
class Portraits:
    """Portraits cut out like the faces that a regression was trained on.

    Attributes:
        images: uint8 ``(N, 1, S, S)``, grey.
        pupils: float32 ``(N, 2, 2)``, the one on the image's left first, in shares of the cut's side.
        window: left, top and side of the cut, in pixels of the stored portraits.
    """

    images: np.ndarray
    pupils: np.ndarray
    window: tuple[int, int, int]


def eye_centres(points: np.ndarray) -> np.ndarray:
    """float ``(N, 2, 2)``: the mean of each eye's outline (468 points: 16 a side; 98 and 106: 8; 68: 6; 19 and 5: the
    eye itself), the one on the image's left first.

    Args:
        points: ``(N, P, 2)``, ``P`` one of 5, 19, 68, 98, 106 and 468.
    """
    left = list(_EYES[points.shape[1]])
    mirrored = np.array(MIRRORED[points.shape[1]])
    return np.stack([points[:, left].mean(1), points[:, mirrored[left]].mean(1)], 1)


def eye_distance(points: np.ndarray) -> np.ndarray:
    """float ``(N,)``: distance between the :func:`eye_centres`."""
    centres = eye_centres(points)
    return np.linalg.norm(centres[:, 0] - centres[:, 1], axis=-1)


def normalised_errors(found: np.ndarray, truth: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    """float ``(N,)``: mean distance of a face's found points from the true ones (NME), by ``lengths (N,)``, else by the
    true eye distance."""
    return np.linalg.norm(found - truth, axis=-1).mean(1) / (eye_distance(truth) if lengths is None else lengths)


def read_landmark_faces(
    paths: Sequence[str], landmarks: str, size: int, *, group_field: str | None = None, name: str
) -> LandmarkFaces:
    """The faces of ``paths`` (shards, globs, directories) that have points in the file ``landmarks``.

    Says on stderr what was read, and how many pictures have no points and points no picture.

    Args:
        landmarks: an .npz file of :class:`~gptface.data.landmark_files.LandmarkTable`.
        size: side in pixels.
        group_field: metadata field of the person.
        name: which faces these are, for messages.

    Raises:
        InputError: no picture has points, points lie far outside their picture, or eyes that are one point.
    """
    table = LandmarkTable([landmarks], f"{name} landmarks")
    dataset = FaceShards(list(paths), size, table)
    _, unmatched = table.matched((dataset.key(number) for number in range(len(dataset))), f"the {name} faces")
    images: list[np.ndarray] = []
    points: list[np.ndarray] = []
    keys, people = [], []
    skipped: dict[str, int] = {}
    without: list[str] = []
    for item in dataset:
        if not isinstance(item, Sample):
            skipped[item.reason] = skipped.get(item.reason, 0) + 1
            continue
        key = str(item.metadata["key"])
        if table.get(key) is None or not np.isfinite(own := np.asarray(item.metadata["landmarks"]) / size).all():
            without.append(key)
            continue
        if len(own) not in _EYES or (points and len(own) != len(points[0])):
            raise InputError(f"{name} landmarks: {key} has {len(own)} points; allowed: 5, 68 or 468, the same for all")
        images.append(compact_image(item.image))
        points.append(own)
        keys.append(key)
        people.append(str(item.metadata.get(group_field, key)) if group_field is not None else key)
    found = LandmarkFaces(stack_images(images), np.stack(points).astype(np.float32), tuple(keys), np.array(people))
    _refuse_strangers(found, name)
    display = Display(name)
    for line in Reading.of(dataset, len(found), skipped).lines(f"{name} faces", "with landmarks, decoded into memory"):
        display.line(line)
    if without:
        display.line(f"{name} faces: {len(without)} without points left out, such as {without[0]}")
    if unmatched:
        display.line(f"{name} landmarks: {len(unmatched)} names, such as {unmatched[0]}, are no picture that was given")
    return found


def _refuse_strangers(faces: LandmarkFaces, name: str) -> None:
    outside = np.maximum(-faces.points, faces.points - 1).max((1, 2)) > FARTHEST
    if outside.any():
        first = faces.keys[int(np.argmax(outside))]
        raise InputError(
            f"{name} landmarks: {int(outside.sum())} faces, such as {first}, have points more than half a picture "
            "outside it; they belong to other pictures, or are not in pixels of the stored ones"
        )
    together = eye_distance(faces.points) < 0.02
    if together.any():
        first = faces.keys[int(np.argmax(together))]
        raise InputError(f"{name} landmarks: the eyes of {first} are one point; errors are measured by their distance")


def read_portraits(paths: Sequence[str], landmarks: str, like: np.ndarray, size: int) -> Portraits:
    """Portraits of one window, whose points 0 and 1 are the pupils, cut out as the faces of ``like`` are.

    One cut serves all portraits: it puts the mean pupils of all of them where the mean eyes of ``like`` are. No
    portrait is aligned by its own points, so that these can be predicted. The cuts are grey, like the press photos.

    Args:
        paths: shards of the portraits, all of one size.
        landmarks: .npz of ``key`` and ``points (N, P, 2)`` in pixels of the stored portraits.
        like: float ``(M, P', 2)``, points in shares of the picture.
        size: side of the result in pixels.

    Raises:
        InputError: an unreadable file, no portrait of those names, portraits of several sizes, or a cut that leaves the
            portraits.
    """
    truth = _portrait_points(landmarks)
    dataset = FaceShards(list(paths), None)
    samples = [item for item in dataset if isinstance(item, Sample) and item.metadata["key"] in truth]
    if not samples:
        raise InputError(
            f"portrait landmarks: none of their {len(truth)} names, such as {next(iter(truth), '')!r}, is among the "
            f"portraits, whose names are such as {dataset.key(0)!r}"
        )
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) > 1:
        raise InputError(f"portraits: they have {len(shapes)} sizes; one window is cut from all, so one is needed")
    pupils = np.stack([truth[sample.metadata["key"]] for sample in samples])
    eyes = eye_centres(like).mean(0)
    side = float(np.linalg.norm(pupils.mean(0)[1] - pupils.mean(0)[0]) / np.linalg.norm(eyes[1] - eyes[0]))
    left, top = pupils.mean((0, 1)) - side * eyes.mean(0)
    window = (round(float(left)), round(float(top)), round(side))
    height, width = shapes.pop()[:2]
    if min(window) < 0 or window[0] + window[2] > width or window[1] + window[2] > height or window[2] < 1:
        raise InputError(f"portraits: the cut (left, top, side) = {window} does not lie in {width} × {height} pixels")
    box = (window[0], window[1], window[0] + window[2], window[1] + window[2])
    images = [
        np.array(Image.fromarray(sample.image).crop(box).convert("L").resize((size, size), Image.Resampling.LANCZOS))
        for sample in samples
    ]
    placed = (pupils - np.array(window[:2], dtype=np.float32)) / window[2]
    return Portraits(np.stack(images)[:, None], placed.astype(np.float32), window)


def _portrait_points(file: str) -> dict[str, np.ndarray]:
    """Pupils float32 ``(2, 2)`` by name, the one on the image's left first."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            keys, points = arrays["key"], arrays["points"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"portrait landmarks: {file} is no .npz file of key and points ({error})") from error
    if points.ndim != 3 or points.shape[0] != len(keys) or points.shape[1] < 2 or points.shape[2] < 2:
        raise InputError(
            f"portrait landmarks: points in {file} have shape {points.shape} for {len(keys)} names; allowed: "
            "(N, P, 2), of which points 0 and 1 are the pupils"
        )
    pupils = points[:, :2, :2].astype(np.float32)
    ordered = np.take_along_axis(pupils, pupils[..., :1].argsort(1), 1)
    return dict(zip((str(key) for key in keys), ordered, strict=True))
