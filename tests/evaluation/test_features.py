"""Features that nobody has to learn."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.evaluation.features import hog_features, pixel_features, shape_features


def test_pixel_features_are_means_of_grey_blocks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    found = pixel_features(images, 4)
    expected = (images.mean(-1) / 255).reshape(3, 4, 2, 4, 2).mean((2, 4)).reshape(3, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_hog_sees_the_direction_of_edges_and_not_how_light_the_picture_is() -> None:
    rows = np.arange(128, dtype=np.uint8)[:, None, None] // 4 % 2 * np.uint8(100)
    flat, upright = (np.broadcast_to(stripes, (128, 128, 3)) for stripes in (rows, rows.swapaxes(0, 1)))
    seen: list[int] = []
    first, lighter, other = hog_features(np.stack([flat, flat + np.uint8(80), upright]), seen.append)
    assert first.dtype == np.float32 and first.shape == (7 * 7 * 2 * 2 * 9,) and seen == [3]
    np.testing.assert_allclose(lighter, first, atol=1e-5)
    directions, turned = first.reshape(-1, 9).sum(0), other.reshape(-1, 9).sum(0)
    assert directions.argmax() != turned.argmax()
    assert directions.max() > 0.95 * directions.sum()


def test_hog_is_taken_at_one_size() -> None:
    with pytest.raises(InputError, match=r"\(2, 64, 64, 3\); HOG is taken of \(N, 128, 128, C\)"):
        hog_features(np.zeros((2, 64, 64, 3), dtype=np.uint8))


def test_hog_without_scikit_image_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(InputError, match=r'pip install "gptface\[probe\]"'):
        hog_features(np.zeros((1, 128, 128, 3), dtype=np.uint8))


@given(st.integers(0, 99), st.floats(-3, 3), st.floats(0.1, 10), st.floats(-50, 50))
def test_shapes_of_landmarks_know_no_place_size_and_turn(seed: int, angle: float, size: float, place: float) -> None:
    points = np.random.default_rng(seed).normal(size=(6, 9, 2)).astype(np.float32)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (size * points @ turn + place).astype(np.float32)
    np.testing.assert_allclose(shape_features(moved, points), shape_features(points, points), atol=1e-3)


def test_a_mirrored_shape_is_another_one_and_a_face_without_landmarks_has_the_mean() -> None:
    points = np.random.default_rng(0).normal(size=(5, 9, 2)).astype(np.float32)
    points[:4] = points[0] + 0.05 * points[:4]
    points[4] = np.nan
    found = shape_features(points, points)
    assert np.abs(shape_features(points * [-1, 1], points)[:4] - found[:4]).max() > 0.1
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[4], found[:4].mean(0), atol=0.02)
