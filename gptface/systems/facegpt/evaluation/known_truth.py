"""Faces whose truth is known: shape in millimetres, pose in degrees, jaw and smile, for any way to reconstruct them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gptface.errors import InputError
from gptface.morphable import FaceParameters, MorphableModel, angle_errors, fit_landmarks, fit_light, vertex_distances
from gptface.progress import Countdown, Display
from gptface.systems.facegpt.data.rendered import RenderedFaces
from gptface.systems.facegpt.evaluation import measures
from gptface.systems.facegpt.evaluation.methods import (
    BATCH,
    FITTING,
    MEAN_FACE,
    Reconstruct,
    array_of,
    complete,
    joined,
    mean_face,
    reconstructed,
)
from gptface.systems.facegpt.evaluation.picture_errors import face_masks, landmark_errors, photometric_errors

__all__ = ["TrueFaces", "levels_of", "measure_known_truth", "true_faces", "truth_lines"]

TYPICAL = 64
"""Faces of another seed from which the mean face gets its place and light."""
EXACT = 0.005
"""How far the true landmarks are expected to lie from the truth, as a share of the face's size."""
_JAW, _SMILE = ("jawOpen",), ("mouthSmile_L", "mouthSmile_R", "mouthSmile")


@dataclass(frozen=True)
class TrueFaces:
    """Drawn faces, their truth, and what is known of such faces without looking at them.

    Attributes:
        model: of all of them.
        images: uint8 ``(N, S, S, 3)``.
        landmarks: float32 ``(N, 68, 2)`` pixels.
        truth: parameters of ``N`` heads.
        mean_face: one head: the model's mean in the mean pose and light of other such faces.
    """

    model: MorphableModel
    images: np.ndarray
    landmarks: np.ndarray
    truth: FaceParameters
    mean_face: FaceParameters

    def __len__(self) -> int:
        return len(self.images)


def true_faces(held_out: RenderedFaces, others: RenderedFaces, count: int, display: Display | None = None) -> TrueFaces:
    """The first ``count`` held-out faces, and the mean face placed as the others are.

    Raises:
        InputError: fewer than two faces, a model without 68 landmarks, or both collections of one seed.
    """
    if count < 2:
        raise InputError(f"count: {count} faces; at least 2 are needed")
    if held_out.seed == others.seed:
        raise InputError(f"seed: {held_out.seed} is also that of the other faces; held-out ones need their own")
    model = held_out.model
    if len(model.landmark_vertices) != 68:
        raise InputError(f"{model.name} has {len(model.landmark_vertices)} landmarks; a model with 68 can be measured")
    countdown = Countdown(display or Display("truth", shown=False), f"{count} faces drawn", count)
    drawn = []
    for start in range(0, count, BATCH):
        drawn.append(held_out.batch(range(start, min(count, start + BATCH))))
        countdown.advance(min(count, start + BATCH))
    typical = others.batch(range(TYPICAL))
    return TrueFaces(
        model,
        np.concatenate([levels_of(batch.images) for batch in drawn]),
        np.concatenate([batch.landmarks.cpu().numpy() for batch in drawn]),
        joined([batch.parameters for batch in drawn]),
        mean_face(model, typical.landmarks.cpu().numpy(), levels_of(typical.images)),
    )


def levels_of(images: torch.Tensor) -> np.ndarray:
    """Pictures from 0 to 1 as uint8."""
    return (images.cpu().numpy() * 255).round().astype(np.uint8)


def measure_known_truth(
    faces: TrueFaces, methods: Mapping[str, Reconstruct], *, fitting: bool = True, display: Display | None = None
) -> tuple[list[dict[str, Any]], dict[str, FaceParameters]]:
    """A row a method, the mean face and the fit to the true landmarks among them.

    Returns:
        rows of ``name`` and measures (value, 95 % interval over the faces, n): ``vertex_mm``, the mean distance of
        vertices after rigid alignment, its ratio ``of_mean_face``, the same ratio where alignment scales as well
        (``scaled_of_mean_face``), ``identity_mm``, both heads at rest, the medians of ``yaw_degrees`` and
        ``pitch_degrees``, the correlations of ``jaw`` and ``smile`` weights with the truth,
        ``landmark_error`` by the eyes' distance and ``photometric_error`` (sRGB, 0 to 1) between jaw and brows; and
        the parameters that each method found.
    """
    display = display or Display("truth", shown=False)
    model, size = faces.model, faces.images.shape[1]
    found = {MEAN_FACE: complete(model, faces.mean_face, len(faces))}
    for name, reconstruct in methods.items():
        found[name] = reconstructed(name, reconstruct, faces.images, model, display)
    if fitting:
        points = torch.from_numpy(faces.landmarks).to(model.mean.device)
        fit = fit_landmarks(model, points, size, size, noise=EXACT)
        found[FITTING] = fit_light(model, fit.parameters, torch.from_numpy(faces.images).to(points).div(255))
    masks = face_masks(faces.landmarks, size)
    groups = np.arange(len(faces))
    base = array_of(vertex_distances(model, faces.mean_face, faces.truth))
    scaled_base = array_of(vertex_distances(model, faces.mean_face, faces.truth, scale=True))
    rows = []
    for name, parameters in found.items():
        distances = array_of(vertex_distances(model, parameters, faces.truth))
        angles = array_of(angle_errors(parameters, faces.truth))
        rows.append(
            {
                "name": name,
                "n": len(faces),
                "vertex_mm": measures.mean(distances, groups),
                "of_mean_face": measures.ratio(distances, base, groups),
                "scaled_of_mean_face": measures.ratio(
                    array_of(vertex_distances(model, parameters, faces.truth, scale=True)), scaled_base, groups
                ),
                "identity_mm": measures.mean(
                    array_of(vertex_distances(model, parameters, faces.truth, expression=False)), groups
                ),
                "yaw_degrees": measures.median(angles[:, 0], groups),
                "pitch_degrees": measures.median(angles[:, 1], groups),
                "jaw": _agreement(model, parameters, faces.truth, _JAW),
                "smile": _agreement(model, parameters, faces.truth, _SMILE),
                "landmark_error": measures.mean(landmark_errors(model, parameters, faces.landmarks, size), groups),
                "photometric_error": measures.mean(photometric_errors(model, parameters, faces.images, masks), groups),
            }
        )
    return rows, found


def truth_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a row."""
    lines = []
    for row in rows:
        told = {name: measures.told(value) for name, value in row.items() if isinstance(value, dict)}
        lines.append(
            f"{row['name']}: {told['vertex_mm']} mm, {told['of_mean_face']} of the mean face's "
            f"(scaled {told['scaled_of_mean_face']}), identity {told['identity_mm']} mm; "
            f"yaw {told['yaw_degrees']}°, pitch {told['pitch_degrees']}°; "
            f"jaw {told['jaw']}, smile {told['smile']}; landmarks {measures.told(row['landmark_error'], 3)}, "
            f"colours {measures.told(row['photometric_error'], 3)}; n {row['n']}"
        )
    return lines


def _agreement(
    model: MorphableModel, found: FaceParameters, truth: FaceParameters, names: Sequence[str]
) -> measures.Measure:
    """Correlation of the mean of some expression weights; no number where the model has none of them."""
    columns = [model.expression_names.index(name) for name in names if name in model.expression_names]
    if not columns:
        return {"value": None, "interval": [None, None], "n": len(truth.expression)}
    first, second = (array_of(each.expression[:, columns].mean(1)) for each in (found, truth))
    return measures.correlation(first, second, np.arange(len(first)))
