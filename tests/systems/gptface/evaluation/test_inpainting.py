"""``gptface evaluate inpainting``: nothing outside changes, the original itself is nearest, and figures by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from gptface.cli.main import main
from gptface.errors import InputError
from gptface.evaluation.landmark_regression import PatchRegressor
from gptface.systems.gptface.evaluation import inpainting
from gptface.systems.gptface.evaluation.inpainting import Holes, InpaintingTest, inpainting_lines, measure_inpainting
from gptface.systems.gptface.generation import ClassifierFreeGuidance, DecodingSettings
from tests.systems.gptface.evaluation.known_points import BrightPoints
from tests.systems.gptface.generation.systems import tiny_system

QUICK = DecodingSettings(steps=1, classifier_free=ClassifierFreeGuidance(1.0), batch_invariant=False)


@pytest.fixture(scope="module")
def measured(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("inpainting")
    test = InpaintingTest(
        [str(folders["faces"])], covers=("medical_mask", "block"), count=12, captions=True, settings=QUICK,
        output=output / "all.json", table=output / "all.md", sheet=output / "all.png",
    )  # fmt: skip
    summary = measure_inpainting(test, tiny_system(), cast(PatchRegressor, BrightPoints()))
    assert json.loads((output / "all.json").read_text())["rows"] == summary["rows"]
    assert (output / "all.md").read_text().count("| medical_mask |") == 7 and (output / "all.png").stat().st_size > 999
    return summary


def test_every_method_leaves_what_is_not_covered(measured: dict[str, Any]) -> None:
    rows = measured["rows"]
    assert {row["cover"] for row in rows} == {"medical_mask", "block"} and len(rows) == 14
    assert all(row["outside"] == 0 for row in rows)
    assert all(row["psnr_interval"][0] <= row["psnr"] <= row["psnr_interval"][1] for row in rows)
    lines = inpainting_lines(measured)
    assert len(lines) == 14 and lines[0].startswith("medical_mask, GPTFace: PSNR ")


def test_what_the_photo_shows_is_nearer_than_paint(measured: dict[str, Any]) -> None:
    by_name = {row["name"]: row for row in measured["rows"] if row["cover"] == "medical_mask"}
    assert by_name[inpainting.SMOOTH]["psnr"] > by_name[inpainting.UNFILLED]["psnr"]
    assert by_name[inpainting.SMOOTH]["landmarks"] < by_name[inpainting.UNFILLED]["landmarks"]
    assert by_name[inpainting.PLAIN]["sharpness"] == 0


def test_figures_of_a_hole_by_hand() -> None:
    photo = np.zeros((1, 32, 32, 3), np.uint8)
    mask = np.zeros((1, 32, 32), bool)
    mask[0, :16] = True
    filled = photo.copy()
    filled[0, :8] = 51  # a fifth of white in half of the hole: error 0.2² / 2
    filled[0, 20] = 7
    holes = Holes(photo, photo, mask, np.array([0]))
    points = np.full((1, 68, 2), 0.9, np.float32)
    points[0, :10, 1] = 0.25  # ten points in the hole
    points[0, 36:42], points[0, 42:48] = (0.3, 0.9), (0.7, 0.9)  # eyes 0.4 apart
    found = points + np.float32([0.0, 0.1])
    row = inpainting._compared(holes, filled, points, found, np.array([0]))
    assert row["psnr"] == pytest.approx(10 * np.log10(1 / 0.02), abs=1e-6)
    assert row["outside"] == pytest.approx(32 / 512)
    assert row["landmarks"] == pytest.approx(0.25, rel=1e-5) and row["landmark_photos"] == 1
    none = inpainting._compared(holes, filled, points + 9, found, np.array([0]))
    assert none["landmarks"] is None and none["landmark_photos"] == 0


def test_the_mean_face_leaves_the_photo_itself_out(folders: dict[str, Path]) -> None:
    test = InpaintingTest([str(folders["faces"])], covers=("block",), count=2)
    faces = inpainting._read(test, 32)
    holes = inpainting._paint(faces, "block", 0)
    filled = inpainting._mean_face(faces, holes)
    for own, (row, other) in enumerate(zip(holes.rows, holes.rows[::-1], strict=True)):
        assert row != other
        mask = holes.masks[own]
        lighter = faces.images[row][~mask].mean(0) - faces.images[other][~mask].mean(0)
        wanted = np.clip(faces.images[other][mask] + lighter, 0, 255)
        np.testing.assert_allclose(filled[own][mask], wanted, atol=0.51)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--covers", "scarf"], "cover 'scarf' is unknown"),
        (["--count", "1"], "--count must be at least 2"),
        (["--sheet", "x.jpg"], "its name must end in .png"),
        (["--group", "person"], "no face has a field 'person'"),
        (["--landmark-model", "FACES"], "encoder"),
        (["--steps", "0"], "steps must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence(
    folders: dict[str, Path], more: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    words = [str(folders["faces"]) if word == "FACES" else word for word in more]
    arguments = ["--system", str(folders["system"]), "--faces", str(folders["faces"]), "--output", str(output)]
    assert main(["evaluate", "inpainting", *arguments, *words]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()


def test_faces_without_regions_need_landmarks(folders: dict[str, Path], tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "bare").mkdir()
    for number in range(2):
        Image.new("RGB", (32, 32), (90, 80, 70)).save(tmp_path / "bare" / f"{number}.png")
    with pytest.raises(InputError, match="has neither a region map nor landmarks"):
        measure_inpainting(InpaintingTest([str(tmp_path / "bare")], count=2), tiny_system())


def test_the_bundled_system_fills_without_a_landmark_model(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--faces", str(folders["faces"]), "--covers", "mouth", "--count", "3", "--match-guidance", "none"]
    assert main(["evaluate", "inpainting", *arguments, "--steps", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all("landmarks in the hole –" in line for line in lines)
    decibels = {}
    for line in lines:
        name, figures = line.split(": PSNR ")
        decibels[name.removeprefix("mouth, ")] = float(figures.split()[0])
    assert decibels["GPTFace"] > decibels[inpainting.UNFILLED]
    assert decibels[inpainting.CEILING] > decibels["GPTFace"]
