"""Faces with landmarks: matched by name, measured by eye distance, portraits cut like them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gptface.errors import InputError
from gptface.evaluation.landmark_faces import (
    eye_centres,
    eye_distance,
    normalised_errors,
    read_landmark_faces,
    read_portraits,
)
from gptface.faces.landmarks import mirror_landmarks
from tests.helpers.dotted_faces import SHAPE, write_dotted_faces


def test_points_are_shares_of_the_picture_whatever_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dotted_faces(tmp_path, 4)
    file = str(tmp_path / "points.npz")
    stored = np.load(file)["points"]
    for size in (16, 24):
        faces = read_landmark_faces([str(tmp_path)], file, size, group_field="person", name="test")
        np.testing.assert_allclose(faces.points, stored / 24, atol=1e-6)
        assert faces.images.shape == (4, 1, size, size) and faces.people.tolist() == ["0", "1", "2", "3"]
    assert "test faces: 4 faces of 4 samples" in capsys.readouterr().err


def test_pictures_without_points_are_left_out_and_points_without_a_picture_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dotted_faces(tmp_path, 3)
    stored = dict(np.load(tmp_path / "points.npz"))
    np.savez(tmp_path / "other.npz", key=np.array(["000000002", "elsewhere"]), points=stored["points"][:2])
    faces = read_landmark_faces([str(tmp_path)], str(tmp_path / "other.npz"), 24, name="test")
    assert faces.keys == ("000000002",)
    told = capsys.readouterr().err
    assert "test landmarks: 1 names, such as elsewhere, are no picture that was given" in told
    assert "test faces: 2 without points left out, such as 000000000" in told


def test_landmarks_of_other_pictures_are_refused(tmp_path: Path) -> None:
    write_dotted_faces(tmp_path, 2)
    stored = dict(np.load(tmp_path / "points.npz"))

    def refused(match: str, **changed: np.ndarray) -> None:
        file = tmp_path / "bad.npz"
        np.savez(file, **{**stored, **changed})
        with pytest.raises(InputError, match=match):
            read_landmark_faces([str(tmp_path)], str(file), 24, name="test")

    refused("test landmarks: none of its 2 names, such as 'a', is a sample", key=np.array(["a", "b"]))
    refused(r"test landmarks: 2 faces, such as 000000000, have points more than half a", points=3 * stored["points"])
    refused("the eyes of 000000000 are one point", points=np.full_like(stored["points"], 9))
    refused(r"test landmarks: points in .*bad.npz are float32 \(2, 4, 2\)", points=stored["points"][:, :4])


def test_eye_centres_and_errors_by_their_distance() -> None:
    points = (0.5 + SHAPE)[None]
    np.testing.assert_allclose(eye_centres(points), points[:, :2])
    np.testing.assert_allclose(eye_distance(points), [0.36])
    np.testing.assert_allclose(normalised_errors(points + np.array([0.036, 0]), points), [0.1])


@pytest.mark.parametrize("count", [5, 68, 468])
def test_the_eyes_of_a_mirrored_face_are_mirrored(count: int) -> None:
    points = np.random.default_rng(count).random((count, 2))
    centres = eye_centres(points[None])[0]
    expected = centres[::-1] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(eye_centres(mirror_landmarks(points, 1.0)[None])[0], expected, atol=1e-12)


def test_one_cut_puts_the_mean_pupils_where_the_mean_eyes_are(tmp_path: Path) -> None:
    write_dotted_faces(tmp_path, 20, side=64, colour=True)
    like = (0.5 + 1.6 * SHAPE)[None].astype(np.float32)
    portraits = read_portraits([str(tmp_path)], str(tmp_path / "points.npz"), like, 16)
    assert portraits.images.shape == (20, 1, 16, 16) and portraits.window[2] == 40
    np.testing.assert_allclose(portraits.pupils.mean(0), like[0, :2], atol=0.02)
    dark = np.array([image[0].reshape(-1).argmin() for image in portraits.images])
    found = np.stack([dark % 16, dark // 16], 1) / 16 + 1 / 32
    nearest = np.linalg.norm(portraits.pupils - found[:, None], axis=-1).min(1)
    assert (nearest < 0.08).all()


def test_portraits_that_cannot_be_cut_are_refused(tmp_path: Path) -> None:
    write_dotted_faces(tmp_path, 3)
    file, like = str(tmp_path / "points.npz"), (0.5 + SHAPE)[None]
    with pytest.raises(InputError, match=r"the cut \(left, top, side\) = .* does not lie in 24 × 24 pixels"):
        read_portraits([str(tmp_path)], file, like / 2, 16)
    np.savez(tmp_path / "other.npz", key=np.array(["a"]), points=np.zeros((1, 5, 2)))
    with pytest.raises(InputError, match="portrait landmarks: none of their 1 names, such as 'a', is among"):
        read_portraits([str(tmp_path)], str(tmp_path / "other.npz"), like, 16)
    np.savez(tmp_path / "other.npz", key=np.array(["a"]), points=np.zeros((1, 1, 2)))
    with pytest.raises(InputError, match=r"have shape \(1, 1, 2\) for 1 names"):
        read_portraits([str(tmp_path)], str(tmp_path / "other.npz"), like, 16)
    (tmp_path / "other.npz").write_text("none")
    with pytest.raises(InputError, match=r"is no \.npz file of key and points"):
        read_portraits([str(tmp_path)], str(tmp_path / "other.npz"), like, 16)
