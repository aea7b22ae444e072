"""Labels, landmarks and portraits of the real faces, read as the commands read them (skipped where they are absent)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gptface.evaluation.label_shares import NETWORK_RECIPE, row_lines
from gptface.evaluation.landmark_faces import eye_centres, normalised_errors, read_landmark_faces, read_portraits
from gptface.evaluation.measured_fine_tuning import FineTuning, measure_fine_tuning

pytestmark = pytest.mark.faces


def test_landmarks_lie_on_faces_and_portraits_are_framed_like_them(faces_directory: Path) -> None:
    landmarks = faces_directory / "landmarks468_val.npz"
    studio = faces_directory.parent / "studio"
    if not landmarks.exists() or not studio.is_dir():
        pytest.skip("landmarks of the real faces, or the studio portraits, not found beside them")
    faces = read_landmark_faces(
        [str(faces_directory / "val-*.tar")], str(landmarks), 64, group_field="person", name="test"
    )
    assert len(faces) == 740 and faces.images.shape == (740, 1, 64, 64)
    mean = np.repeat(faces.points.mean(0, keepdims=True), len(faces), 0)
    assert 0.1 < np.median(normalised_errors(mean, faces.points)) < 0.15
    # Eyes are darker than what lies between them: points and pictures belong together.
    eyes, between = eye_centres(faces.points), faces.points[:, 168]
    rows = np.arange(len(faces))
    places = [np.clip((where * 64).astype(int), 0, 63) for where in (eyes[:, 0], eyes[:, 1], between)]
    levels = [faces.images[rows, 0, where[:, 1], where[:, 0]].astype(float) for where in places]
    assert ((levels[0] + levels[1]) / 2 < levels[2]).mean() > 0.9

    portraits = read_portraits(
        [str(studio / "studio-shared.tar")], str(studio / "landmarks189_shared.npz"), faces.points, 64
    )
    assert portraits.images.shape == (82, 1, 64, 64)
    np.testing.assert_allclose(portraits.pupils.mean(0), eye_centres(faces.points).mean(0), atol=0.01)
    assert 130 < portraits.window[2] < 160


def test_a_few_seconds_of_the_network_from_scratch_end_in_a_row(faces_directory: Path) -> None:
    summary = measure_fine_tuning(
        FineTuning(
            train=[str(faces_directory / "train-00005.tar")],
            test=[str(faces_directory / "val-*.tar")],
            label="expression",
            classes=["neutral", "happiness"],
            group="person",
            network=replace(NETWORK_RECIPE, minutes=0.05),
            device="cpu",
        )
    )
    (line,) = row_lines(summary)
    assert line.startswith("network from scratch accuracy 0.") and line.endswith(" n 677")
