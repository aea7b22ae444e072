"""Faces of 300-W, WFLW, AFLW-19 and LaPa cut out of their pictures, with points that lie where they lay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptface.cli.main import main
from gptface.data.public import aflw
from gptface.errors import InputError
from gptface.evaluation.landmark_faces import eye_distance
from gptface.evaluation.landmark_metrics import outer_eye_distance
from gptface.evaluation.landmarks import _summarise, landmark_lines, published_figures
from gptface.evaluation.public_landmarks import cut_face, read_public_landmarks
from gptface.evaluation.result_tables import landmark_table
from gptface.faces.landmark_schemes import MIRRORED
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.encoder import PaCoFREncoder


def shape(count: int) -> np.ndarray:
    """Points of a face that is its own mirror image, in shares of its width about its middle."""
    generator = np.random.default_rng(count)
    points = generator.uniform(-0.5, 0.5, (count, 2))
    mirrored = np.array(MIRRORED[count])
    points = (points + points[mirrored] * [-1, 1]) / 2
    points[0], points[mirrored[0]] = (-0.5, -0.2), (0.5, -0.2)  # the jaw is widest
    corners = {19: (6, 11), 68: (36, 45), 98: (60, 72), 106: (66, 79)}[count]
    points[corners[0]], points[corners[1]] = (-0.3, -0.25), (0.3, -0.25)
    return points


@pytest.mark.parametrize("count", [19, 68, 98, 106])
def test_mirrored_twice_is_as_before_and_the_middle_stays(count: int) -> None:
    mirrored = np.array(MIRRORED[count])
    assert np.array_equal(mirrored[mirrored], np.arange(count))
    middle = {
        19: (13, 16, 18),
        68: (8, 27, 28, 29, 30, 33, 51, 57, 62, 66),
        98: (16, 51, 52, 53, 54, 57, 79, 85, 90, 94),
        106: (16, 51, 52, 53, 54, 60, 87, 93, 98, 102),
    }[count]
    assert set(np.flatnonzero(mirrored == np.arange(count))) == set(middle)


@pytest.mark.parametrize("size", [24, 40, 100])
def test_a_cut_takes_its_points_along(size: int) -> None:
    image = np.zeros((90, 120, 3), dtype=np.uint8)
    points = np.array([[30.0, 40.0], [70.0, 40.0], [50.0, 60.0]])
    for x, y in points.astype(int):
        image[y - 3 : y + 3, x - 3 : x + 3] = 255
    cut, moved = cut_face(image, points, size)
    assert cut.shape == (size, size, 3)
    np.testing.assert_allclose(moved, [[1 / 6, 1 / 3], [5 / 6, 1 / 3], [1 / 2, 2 / 3]], atol=1e-6)
    for x, y in (moved * size).astype(int):
        assert cut[y, x, 0] > 120
    assert (cut > 120).mean() == pytest.approx(3 * 36 / 3600, rel=0.4)


def test_beyond_the_picture_it_is_black_and_one_place_is_no_face() -> None:
    cut, moved = cut_face(np.full((20, 20, 3), 200, dtype=np.uint8), np.array([[0.0, 0.0], [20.0, 20.0]]), 30)
    assert cut[0, 0, 0] == 0 and cut[15, 15, 0] == 200 and cut[29, 29, 0] == 0
    np.testing.assert_allclose(moved, [[1 / 6, 1 / 6], [5 / 6, 5 / 6]])
    with pytest.raises(InputError, match=r"the points lie in one place, \(3, 3\)"):
        cut_face(np.zeros((9, 9, 3), dtype=np.uint8), np.full((5, 2), 3.0), 8)


def draw(generator: np.random.Generator, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a face somewhere: a light patch at each of its points."""
    width = generator.uniform(24, 32)
    placed = generator.uniform(28, 34, 2) + width * points
    image = generator.integers(20, 60, (64, 64, 3)).astype(np.uint8)
    for x, y in placed.astype(int):
        image[y - 1 : y + 1, x - 1 : x + 1] = 220
    return image, placed


@pytest.fixture
def wild(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name, count in (("afw", 20), ("helen/trainset", 4), ("lfpw/trainset", 4), ("helen/testset", 4),
                        ("lfpw/testset", 2), ("ibug", 2)):  # fmt: skip
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            image, points = draw(generator, shape(68))
            Image.fromarray(image).save(tmp_path / name / f"{number}.png")
            rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points + 0.5)
            (tmp_path / name / f"{number}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")
    return tmp_path


def test_300w_is_measured_as_it_is_published(
    wild: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoder = tmp_path_factory.mktemp("encoder")
    PaCoFREncoder(PaCoFRConfig.tiny().encoder()).save_pretrained(encoder)
    arguments = ["evaluate", "landmarks", "--encoder", str(encoder), "--train", str(wild), "--test", str(wild)]
    more = ["--frozen-only", "--no-random", "--table", str(encoder / "l.md"), "--plot", str(encoder / "l.png")]
    assert main([*arguments, *more]) == 0
    printed = capsys.readouterr()
    assert "test faces: 8 of 8 faces of 300-W (full), cut out by their points" in printed.err
    assert all(line.endswith(" n 8") and " by diagonal 0." in line for line in printed.out.splitlines())
    assert "| encoder, frozen |" in (encoder / "l.md").read_text() and (encoder / "l.png").stat().st_size > 1000


def test_wflw_has_the_eyes_of_its_own_scheme(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    (tmp_path / "WFLW_images").mkdir()
    image, points = draw(generator, shape(98))
    Image.fromarray(image).save(tmp_path / "WFLW_images" / "a.png")
    places = " ".join(f"{value:.4f}" for value in points.ravel())
    lines = [f"{places} 1 2 3 4 0 0 0 0 0 0 {name}" for name in ("a.png", "missing.png")]
    (tmp_path / "list_98pt_rect_attr_test.txt").write_text("\n".join(lines))
    faces = read_public_landmarks([str(tmp_path)], 24, name="test")
    assert len(faces) == 1 and faces.points.shape == (1, 98, 2) and faces.images.shape == (1, 3, 24, 24)
    width = np.ptp(points, axis=0).max() * 1.5
    distance = np.linalg.norm(points[60] - points[72]) / width
    np.testing.assert_allclose(outer_eye_distance(faces.points), [distance], rtol=1e-4)
    assert eye_distance(faces.points)[0] > 0


def test_aflw_is_divided_by_its_boxes_and_told_for_frontal_faces_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    io = pytest.importorskip("scipy.io")
    generator = np.random.default_rng(2)
    monkeypatch.setattr(aflw, "TRAINING_FACES", 4)
    root, count, first = tmp_path / "aflw", 8, 4
    (root / "flickr" / "0").mkdir(parents=True)
    rows, boxes = [], []
    for number in range(count):
        image, points = draw(generator, shape(19))
        Image.fromarray(image).save(root / "flickr" / "0" / f"{number}.jpg", quality=95)
        rows.append(points.T.ravel())
        boxes.append([10.0, 50.0, 20.0, 50.0])  # left, right, top, bottom
    total = first + count  # the first are to learn from; their rows repeat the last ones'
    order = np.arange(total) % count
    names = np.array([[f"0/{number}.jpg"] for number in order], dtype=object)
    visible = np.ones((total, 19))
    visible[first] = 0
    table = {"nameList": names, "bbox": np.array(boxes)[order], "data": np.array(rows)[order], "mask_new": visible}
    io.savemat(root / "AFLWinfo_release.mat", {**table, "ra": np.arange(1, total + 1)[None]})
    faces = read_public_landmarks([str(root)], 24, name="test")
    assert faces.points.shape == (count, 19, 2) and faces.boxes is not None
    side = 1.5 * np.ptp(np.array(rows)[order[first]].reshape(2, 19), axis=1).max()
    np.testing.assert_allclose(faces.boxes[0], [40 / side, 30 / side], rtol=1e-5)
    np.testing.assert_allclose(faces.lengths[0], 50 / side, rtol=1e-5)
    assert faces.subsets["frontal faces"].sum() == count - 1
    found = faces.points + np.float32(3 / side) * np.array([0, 1], dtype=np.float32)  # 3 pixels below, in the first
    figures = published_figures(found[:1], faces.points[:1], faces.boxes[:1])
    assert figures["nme_diagonal"] == pytest.approx(3 / 50, rel=1e-3) and figures["nme_corners"] is None
    assert figures["nme_box"] == pytest.approx(3 / 1200**0.5, rel=1e-3) and figures["failure_rate"] == 1
    several = {"a": (found, None)}
    summary = {**_summarise(several, faces, None), "points": 19}
    assert [(row["set"], row["n"]) for row in summary["rows"]] == [("test faces", 8), ("frontal faces", 7)]
    lines = landmark_lines(summary)
    assert " by box 0." in lines[0] and lines[1].startswith("a, frontal faces NME ")
    text = landmark_table(summary, "Landmarks")
    assert "NME, diagonal of the box" in text and "failures at 7 %" in text


def test_lapa_has_its_106_points_and_a_face_without_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(3)
    for name in ("images", "labels", "landmarks"):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "val" / name).mkdir(parents=True)
    for number in range(3):
        image, points = draw(generator, shape(106))
        Image.fromarray(image).save(tmp_path / "test" / "images" / f"{number}.jpg", quality=95)
        Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(tmp_path / "test" / "labels" / f"{number}.png")
        if number:
            text = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points)
            (tmp_path / "test" / "landmarks" / f"{number}.txt").write_text(f"106\n{text}\n")
    faces = read_public_landmarks([str(tmp_path)], 24, name="test")
    assert faces.points.shape == (2, 106, 2) and faces.keys == ("1", "2") and faces.boxes is None
    assert "skipped 1 no_landmarks" in capsys.readouterr().err
    width = 1.5 * np.ptp(points, axis=0).max()
    distance = np.linalg.norm(points[66] - points[79]) / width
    np.testing.assert_allclose(outer_eye_distance(faces.points)[1], distance, rtol=1e-3)
    assert (faces.lengths > 0).all()


def test_other_faces_need_a_file_of_points(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training landmarks: the faces are shards: give a file of their points"):
        read_public_landmarks([str(tmp_path)], 16, name="training")
    (tmp_path / "img_align_celeba").mkdir()
    with pytest.raises(InputError, match="test landmarks: the faces are of CelebA: give a file"):
        read_public_landmarks([str(tmp_path)], 16, name="test")
