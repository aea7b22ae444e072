"""Landmarks read off an encoder: better than the mean shape, and drawn where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gptface.evaluation.fine_tuning import Recipe
from gptface.evaluation.landmark_faces import normalised_errors, read_landmark_faces
from gptface.evaluation.landmark_regression import PatchRegressor, fine_tune_landmarks, fit_frozen, predict_landmarks
from gptface.evaluation.landmarks import LandmarkTest, landmark_lines, measure_landmarks
from gptface.evaluation.training_pictures import RandomLandmarkPictures
from tests.helpers.dotted_faces import SHAPE, write_dotted_faces
from tests.helpers.tiny_encoder import TinyEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dotted")
    write_dotted_faces(made / "train", 200)
    write_dotted_faces(made / "test", 40, first=1000)
    return made


def test_moved_pictures_take_their_points_along() -> None:
    """The darkest pixel is an eye before and after; mirrored faces have the left eye on the left again."""
    torch.manual_seed(0)
    side, points = 48, torch.from_numpy(0.5 + SHAPE).float().expand(40, -1, -1)
    rows, columns = np.mgrid[:side, :side] + 0.5
    face = np.full((side, side), 200.0)
    for (x, y), depth in zip((0.5 + SHAPE[:2]) * side, (150, 90), strict=True):
        face -= depth * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 9)
    images = torch.from_numpy(face.astype(np.uint8)).expand(40, 1, -1, -1)
    views = RandomLandmarkPictures(24, 5)
    views._steps = []  # light and cover move nothing
    pictures, moved, scale = views(images, points)
    darkest = pictures[:, 0].flatten(1).argmin(1)
    found = torch.stack([darkest % 24, darkest // 24], 1).float().add(0.5) / 24
    first, second = ((moved[:, eye] - found).norm(dim=1) for eye in (0, 1))
    assert (torch.minimum(first, second) < 0.05).all()
    assert 0.2 < (first < second).float().mean() < 0.8  # the darker eye is the left one, except in mirrored faces
    assert (moved[:, 0, 0] < moved[:, 1, 0]).all()
    torch.testing.assert_close((moved[:, 0] - moved[:, 1]).norm(dim=1), 0.36 * scale, rtol=1e-4, atol=1e-5)
    assert scale.min() < 0.95 < 1.05 < scale.max()


def test_frozen_features_and_training_both_beat_the_mean_shape(folder: Path) -> None:
    train, test = (
        read_landmark_faces([str(folder / name)], str(folder / name / "points.npz"), 22, name=name)
        for name in ("train", "test")
    )
    apart = np.arange(200) % 10 == 0

    def error(points: np.ndarray) -> float:
        return float(normalised_errors(points, test.points).mean())

    mean = train.points.mean(0)
    worst = error(np.repeat(mean[None], len(test), 0))
    regressor = PatchRegressor(TinyEncoder(), 5)
    facts = fit_frozen(regressor, train, apart)
    assert facts["dimensions"] == 16 * 32
    assert error(predict_landmarks(regressor, test.images)) < 0.3 * worst

    with torch.no_grad():  # back to the mean shape
        regressor.output.weight.zero_()
        regressor.output.bias.copy_(torch.from_numpy(mean).flatten())
    assert error(predict_landmarks(regressor, test.images)) == pytest.approx(worst, rel=1e-4)
    recipe = Recipe(epochs=1, least_steps=60, batch_size=32, learning_rate=3e-3)
    record = fine_tune_landmarks(regressor, train, apart, recipe)
    assert error(predict_landmarks(regressor, test.images)) < 0.5 * worst
    assert min(score for _, score in record.looks) < 0.5 * worst


def test_a_fine_grid_is_averaged_to_twelve_cells_a_side() -> None:
    regressor = PatchRegressor(TinyEncoder(image_size=64), 68)
    assert regressor.cells == (12, 12) and regressor.project.out_features == 28
    assert regressor(torch.zeros(2, 3, 64, 64)).shape == (2, 68, 2)


def test_rows_sheet_and_file(folder: Path, tmp_path: Path) -> None:
    wish = LandmarkTest(
        train=[str(folder / "train")],
        train_landmarks=str(folder / "train" / "points.npz"),
        test=[str(folder / "test")],
        test_landmarks=str(folder / "test" / "points.npz"),
        group="person",
        portraits=[str(folder / "test")],
        portrait_landmarks=str(folder / "test" / "points.npz"),
        recipe=None,
        output=tmp_path / "out.json",
        sheet=tmp_path / "sheet.png",
    )
    summary = measure_landmarks(wish, TinyEncoder, lambda seed: TinyEncoder(seed=seed + 1))
    names = [row["name"] for row in summary["rows"]]
    assert names == ["mean shape", "random encoder, frozen", "encoder, frozen"] * 2
    assert [row["n"] for row in summary["rows"]] == [40] * 6
    assert summary["rows"][2]["nme"] < 0.5 * summary["rows"][0]["nme"]
    lines = landmark_lines(summary)
    assert lines[0].startswith("mean shape NME 0.") and lines[0].endswith(" n 40")
    best = summary["rows"][2]
    assert f" by diagonal {best['nme_diagonal']:.4f} failures " in lines[2] and "AUC" not in lines[3]
    # With five points the eyes are their own corners; the box around a face is larger than the eyes are apart.
    assert best["nme_corners"] == pytest.approx(best["nme"]) and best["nme_diagonal"] < best["nme"]
    assert best["auc"] > summary["rows"][0]["auc"] and best["failure_rate"] <= summary["rows"][0]["failure_rate"]
    assert lines[6].startswith("encoder, frozen, pupils of portraits, below random weights: ")
    assert lines[7].startswith("encoder, frozen, below random weights: ") and len(lines) == 8
    assert lines[3].startswith("mean shape, pupils of portraits NME 0.")
    assert (tmp_path / "out.json").exists()
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 256 and sheet.height > 8 * 256
        colours = np.array(sheet.convert("RGB")).reshape(-1, 3)
    assert (colours == (40, 220, 60)).all(1).any() and (colours == (255, 60, 40)).all(1).any()
