"""Photos of people not trained on: colours and landmarks, rendering and encoding again, expressions read off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gptface.errors import InputError
from gptface.evaluation.labelled_faces import LabelledFaces, refuse_shared_people
from gptface.evaluation.landmark_faces import LandmarkFaces, read_landmark_faces
from gptface.evaluation.metrics import accuracy_interval
from gptface.evaluation.probe import linear_probe
from gptface.faces.landmark_correspondence import landmarks_68_of_468
from gptface.morphable import (
    FaceParameters,
    MorphableModel,
    angle_errors,
    draw,
    fit_landmarks,
    fit_light,
    pose_of_landmarks,
    vertex_distances,
)
from gptface.progress import Display
from gptface.systems.facegpt.evaluation import measures
from gptface.systems.facegpt.evaluation.methods import (
    BATCH,
    FITTING,
    MEAN_FACE,
    Reconstruct,
    array_of,
    complete,
    mean_face,
    part,
    reconstructed,
)
from gptface.systems.facegpt.evaluation.picture_errors import face_masks, landmark_errors, photometric_errors

__all__ = [
    "POSED_MEAN_FACE",
    "Photos",
    "consistency_lines",
    "measure_consistency",
    "measure_photos",
    "photo_lines",
    "probe_expressions",
    "probe_lines",
    "read_photos",
]

POSED_MEAN_FACE = "mean face, posed by the landmarks and lit by the photo"
FOUND = 0.03
"""How far a face mesh's landmarks are expected to lie from the truth, as a share of the face's size."""


@dataclass(frozen=True)
class Photos:
    """Photos with 68 landmarks.

    Attributes:
        images: uint8 ``(N, S, S, 3)``.
        points: float32 ``(N, 68, 2)`` pixels.
        keys: names.
        people: ``(N,)``.
    """

    images: np.ndarray
    points: np.ndarray
    keys: tuple[str, ...]
    people: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, faces: LandmarkFaces) -> Photos:
        """From faces with 68 landmarks or the 468 of a face mesh.

        Raises:
            InputError: another number of landmarks.
        """
        count, size = faces.points.shape[1], faces.images.shape[-1]
        if count not in (68, 468):
            raise InputError(f"landmarks: {count} points a face; heads are compared by 68, or 468 of a face mesh")
        points = landmarks_68_of_468(faces.points) if count == 468 else faces.points
        return cls(colour_images(faces.images), points * size, faces.keys, faces.people)

    def first(self, count: int | None) -> Photos:
        """``count`` of them, spread over all; ``None`` for all."""
        if count is None or count >= len(self):
            return self
        rows = np.linspace(0, len(self) - 1, count).astype(int)
        return Photos(self.images[rows], self.points[rows], tuple(self.keys[row] for row in rows), self.people[rows])


def colour_images(images: np.ndarray) -> np.ndarray:
    """uint8 ``(N, 1 or 3, S, S)`` to ``(N, S, S, 3)``."""
    rows = images.transpose(0, 2, 3, 1)
    return np.broadcast_to(rows, (*rows.shape[:3], 3)).copy()


def read_photos(paths: Sequence[str], landmarks: str, size: int, *, group: str | None, name: str) -> Photos:
    """The photos of ``paths`` that have landmarks; see :func:`read_landmark_faces`."""
    return Photos.of(read_landmark_faces(paths, landmarks, size, group_field=group, name=name))


def measure_photos(
    model: MorphableModel,
    photos: Photos,
    others: Photos,
    methods: Mapping[str, Reconstruct],
    display: Display | None = None,
) -> tuple[list[dict[str, Any]], dict[str, FaceParameters]]:
    """A row a method: how far colours and landmarks of its heads are from those of the photos.

    Beside the methods stand the mean face as the photos of ``others`` place and light it, the mean face placed by each
    photo's own landmarks and lit by its own colours, and the fit to these landmarks, lit likewise.

    Returns:
        rows of ``name``, ``photometric_error`` (sRGB, 0 to 1, between jaw and brows), ``landmark_error`` (by the eyes'
        distance), and both as shares of the mean face's, with intervals over people; and the heads of each method.
    """
    size = photos.images.shape[1]
    points = torch.from_numpy(photos.points).to(model.mean)
    levels = torch.from_numpy(photos.images).to(model.mean).div(255)
    fit = fit_landmarks(model, points, size, size, noise=FOUND)
    found = {
        MEAN_FACE: complete(model, mean_face(model, others.points, others.images), len(photos)),
        POSED_MEAN_FACE: fit_light(model, pose_of_landmarks(model, points, size, size), levels),
        FITTING: fit_light(model, fit.parameters, levels),
    }
    for name, reconstruct in methods.items():
        found[name] = reconstructed(name, reconstruct, photos.images, model, display)
    masks = face_masks(photos.points, size)
    seen = masks.any((1, 2))
    if not seen.any():
        raise InputError("landmarks: no face lies inside its photo")
    errors = {
        name: {
            "photometric_error": photometric_errors(model, heads, photos.images, masks)[seen],
            "landmark_error": landmark_errors(model, heads, photos.points, size)[seen],
        }
        for name, heads in found.items()
    }
    people = photos.people[seen]
    rows = []
    for name, own in errors.items():
        row: dict[str, Any] = {"name": name, "n": int(seen.sum())}
        for measure, values in own.items():
            row[measure] = measures.mean(values, people)
            row[f"{measure}_of_mean_face"] = measures.ratio(values, errors[MEAN_FACE][measure], people)
        rows.append(row)
    return rows, found


def photo_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a row."""
    return [
        f"{row['name']}: colours {measures.told(row['photometric_error'], 3)} "
        f"({measures.told(row['photometric_error_of_mean_face'])} of the mean face's), "
        f"landmarks {measures.told(row['landmark_error'], 3)} "
        f"({measures.told(row['landmark_error_of_mean_face'])}); n {row['n']}"
        for row in rows
    ]


@torch.no_grad()
def measure_consistency(
    model: MorphableModel,
    photos: Photos,
    methods: Mapping[str, Reconstruct],
    found: Mapping[str, FaceParameters],
    display: Display | None = None,
) -> list[dict[str, Any]]:
    """Heads drawn over their photos and reconstructed again: how near the second head is to the first.

    Returns:
        rows of ``name``, ``vertex_mm`` between both heads, ``of_others``: that distance by the mean distance between
        heads of different photos (1: as far as from anybody's), ``yaw_degrees``, ``pitch_degrees`` (medians) and
        ``expression``: correlation of all expression weights; intervals over people.
    """
    size = photos.images.shape[1]
    rows = []
    for name, reconstruct in methods.items():
        heads = found[name]
        drawn = []
        for start in range(0, len(photos), BATCH):
            chosen = slice(start, start + BATCH)
            behind = torch.from_numpy(photos.images[chosen]).to(model.mean).div(255)
            image = draw(model, part(heads, chosen), size, size, background=behind).image
            drawn.append((image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
        again = reconstructed(f"{name}, again", reconstruct, np.concatenate(drawn), model, display)
        order = torch.arange(len(photos)).roll(max(1, len(photos) // 2))
        apart = array_of(vertex_distances(model, part(heads, order), heads))
        distances = array_of(vertex_distances(model, again, heads))
        angles = array_of(angle_errors(again, heads))
        first, second = array_of(again.expression), array_of(heads.expression)
        rows.append(
            {
                "name": name,
                "n": len(photos),
                "vertex_mm": measures.mean(distances, photos.people),
                "of_others": measures.ratio(distances, apart, photos.people),
                "yaw_degrees": measures.median(angles[:, 0], photos.people),
                "pitch_degrees": measures.median(angles[:, 1], photos.people),
                "expression": measures.correlation(
                    first.flatten(), second.flatten(), np.repeat(photos.people, first.shape[1])
                ),
            }
        )
    return rows


def consistency_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a row."""
    return [
        f"{row['name']}, drawn and reconstructed again: {measures.told(row['vertex_mm'])} mm, "
        f"{measures.told(row['of_others'])} of the distance between people; yaw {measures.told(row['yaw_degrees'])}°, "
        f"pitch {measures.told(row['pitch_degrees'])}°, expression {measures.told(row['expression'])}; n {row['n']}"
        for row in rows
    ]


def probe_expressions(
    model: MorphableModel,
    train: LabelledFaces,
    test: LabelledFaces,
    methods: Mapping[str, Reconstruct],
    *,
    seed: int = 0,
    display: Display | None = None,
) -> list[dict[str, Any]]:
    """A logistic regression of the label on the expression weights alone that a method finds.

    Returns:
        rows of ``name``, ``accuracy`` with its interval over people, ``balanced`` accuracy, ``majority`` and ``n``.

    Raises:
        InputError: people who are on both sides.
    """
    refuse_shared_people(train, test)
    rows = []
    for name, reconstruct in methods.items():
        features = []
        for which, faces in (("training", train), ("test", test)):
            images = colour_images(faces.images)
            heads = reconstructed(f"{name}, {which} faces", reconstruct, images, model, display)
            features.append(heads.expression.float().cpu().numpy())
        result = linear_probe(features[0], train.labels, features[1], test.labels, groups=train.groups, seed=seed)
        right = result.predictions == test.labels
        rows.append(
            {
                "name": name,
                "accuracy": {
                    "value": result.accuracy,
                    "interval": list(accuracy_interval(right, test.groups)),
                    "n": len(test),
                },
                "balanced": result.balanced,
                "majority": result.majority,
                "training_faces": len(train),
            }
        )
    return rows


def probe_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a row."""
    return [
        f"{row['name']}: probe of expression weights {measures.told(row['accuracy'], 1, 100)} %, balanced "
        f"{100 * row['balanced']:.1f} %, always the commonest class {100 * row['majority']:.1f} %; "
        f"n {row['accuracy']['n']}"
        for row in rows
    ]
