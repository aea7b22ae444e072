"""A section of a report: photos of procedural faces and sentences, made into heads and meshes by a trained system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gptface.data.procedural import RenderedFace, render_face, sample_specification
from gptface.evaluation.face_set import HELD_OUT_SEED
from gptface.evaluation.page import Page
from gptface.morphable import (
    OVERLAY_COLUMNS,
    FaceParameters,
    overlay_strip,
    project_landmarks,
    turntable,
    without_pose,
    write_head,
    write_picture,
)
from gptface.systems.facegpt.face_system import FaceSystem, single

__all__ = ["SENTENCES", "faces_in_3d"]

SENTENCES = (
    "an astonished man with a wide nose",
    "a laughing woman with thin lips",
    "an angry man with a long face",
)
PHOTO_SIDE = 192
PHOTO_START = 400_000
"""Of the held-out seed's faces: no other part of the report looks at these."""
MEASURED = 100
EYES = (36, 45)
"""Outer corners of the eyes among 68 landmarks: distances are told in shares of theirs."""


def faces_in_3d(system: FaceSystem, page: Page, folder: Path) -> dict[str, Any]:
    """Add the section's pictures and numbers to ``page``; meshes and pictures go into ``folder``.

    Returns:
        numbers: ``landmark_error`` and ``landmark_error_mean_face``, means over :data:`MEASURED` fresh procedural faces
        of the distance of 68 points from where they are, as a share of that of the eyes' outer corners.
    """
    model = system.morphable
    photos = [_face(number, PHOTO_SIDE).image for number in range(3)]
    heads = system.reconstruct(photos, check=False)
    strips = [overlay_strip(model, single(heads, index), photo, PHOTO_SIDE) for index, photo in enumerate(photos)]
    page.picture(
        _written(folder / "photos-to-faces.png", strips),
        f"Three fresh procedural faces, the first ones, and their heads in 3D: {', '.join(OVERLAY_COLUMNS)}",
    )
    turned = [turntable(model, without_pose(model, single(heads, index)), PHOTO_SIDE) for index in range(len(photos))]
    page.picture(_written(folder / "photos-turned.png", turned), "The same heads in studio light, from five sides")
    _write_meshes(system, heads, folder, [f"photo-{number}" for number in range(1, len(photos) + 1)])

    sculpted = system.sculpt(SENTENCES)
    strips = [turntable(model, without_pose(model, single(sculpted, index)), PHOTO_SIDE) for index in range(3)]
    page.picture(
        _written(folder / "sentences-to-faces.png", strips),
        "From words alone: " + "; ".join(f"“{sentence}”" for sentence in SENTENCES),
    )
    _write_meshes(system, sculpted, folder, [f"sentence-{number}" for number in range(1, len(SENTENCES) + 1)])

    error, mean_error = _landmark_errors(system)
    page.table(
        [
            ["of the reconstructed head", f"{error:.3f}"],
            ["of the mean face in the middle of the picture", f"{mean_error:.3f}"],
        ],
        [f"68 landmarks, mean distance from the true ones ({MEASURED} fresh faces)", "in distances of the eyes"],
    )
    page.text("The meshes lie beside this page, as .glb files that any 3D viewer opens.", note=True)
    return {"landmark_error": error, "landmark_error_mean_face": mean_error, "faces": MEASURED}


def _face(number: int, size: int) -> RenderedFace:
    return render_face(sample_specification(HELD_OUT_SEED, PHOTO_START + number, occluder_probability=0.0), size)


def _written(path: Path, rows: Sequence[np.ndarray]) -> Path:
    write_picture(path, np.concatenate(rows))
    return path


def _write_meshes(system: FaceSystem, heads: FaceParameters, folder: Path, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        write_head(folder / f"{name}.glb", system.morphable, single(heads, index), turned=False)


def _landmark_errors(system: FaceSystem) -> tuple[float, float]:
    """Of reconstructed heads, and of the mean face as an untrained system places it."""
    size = system.image_size
    faces = [_face(100 + number, size) for number in range(MEASURED)]
    truth = torch.from_numpy(np.stack([face.landmarks for face in faces])).float()
    model = system.morphable
    heads = system.reconstruct([face.image for face in faces], check=False)
    eyes = (truth[:, EYES[0]] - truth[:, EYES[1]]).norm(dim=-1)

    def error(parameters: FaceParameters) -> float:
        points = project_landmarks(model, parameters, size, size).cpu()
        return float(((points - truth).norm(dim=-1).mean(1) / eyes).mean())

    return error(heads), error(FaceParameters.neutral(model))
