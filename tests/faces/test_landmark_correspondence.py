"""The 68 landmarks read off the 468 of the face mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gptface.errors import InputError
from gptface.faces.landmark_correspondence import landmarks_68_of_468
from gptface.faces.landmarks import landmark_region_map, mirror_landmarks
from gptface.faces.regions import region_label


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(np.float64, (468, 2), elements=st.floats(0, 100)))
def test_reading_off_commutes_with_mirroring(points: np.ndarray) -> None:
    first = landmarks_68_of_468(mirror_landmarks(points, 100))
    np.testing.assert_allclose(first, mirror_landmarks(landmarks_68_of_468(points), 100))


def test_arrays_and_tensors_of_any_batch_agree() -> None:
    points = np.random.default_rng(0).normal(size=(3, 2, 468, 3))
    found = landmarks_68_of_468(points)
    assert found.shape == (3, 2, 68, 3)
    np.testing.assert_array_equal(landmarks_68_of_468(torch.from_numpy(points)).numpy(), found)
    np.testing.assert_array_equal(found[..., 30, :], points[..., 4, :])  # the tip of the nose


@pytest.mark.parametrize("shape", [(468,), (478, 2), (68, 2), (2, 467, 3)])
def test_another_number_of_points_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"468"):
        landmarks_68_of_468(np.zeros(shape))


@pytest.mark.faces
def test_both_schemes_outline_the_same_regions_of_real_faces(faces_directory: Path) -> None:
    landmarks = faces_directory / "landmarks468_val.npz"
    if not landmarks.exists():
        pytest.skip("landmarks of the real faces not found beside them")
    points = np.load(landmarks)["points"][:60, :, :2].astype(np.float64)
    overlaps: dict[str, list[float]] = {"eyes": [], "mouth": [], "nose": [], "brows": []}
    for own in points:
        maps = [landmark_region_map(p, (128, 128)) for p in (own, landmarks_68_of_468(own))]
        for name, shares in overlaps.items():
            first, second = (labels == region_label(name) for labels in maps)
            shares.append((first & second).sum() / max(1, (first | second).sum()))
    means = {name: float(np.mean(shares)) for name, shares in overlaps.items()}
    # The 68 points thicken brows to a guessed width, and know the nose's base but not its wings.
    assert means["eyes"] > 0.7 and means["mouth"] > 0.8 and means["nose"] > 0.5 and means["brows"] > 0.3, means
