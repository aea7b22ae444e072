"""Landmarks: mirrored, and as regions where the generator drew them."""

from __future__ import annotations

import numpy as np
import pytest

from gptface.data.procedural import ProceduralFaces
from gptface.errors import InputError
from gptface.faces.landmark_schemes import SCHEMES
from gptface.faces.landmarks import landmark_polygons, landmark_region_map, mirror_landmarks
from gptface.faces.regions import region_label


def five_of(points: np.ndarray) -> np.ndarray:
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def mesh_like() -> np.ndarray:
    """468 points of a face that is its own mirror image in an image 100 wide; only outlines are where they belong."""
    angle = np.deg2rad

    def arc(centre: tuple[float, float], width: float, height: float, first: float, last: float, count: int):
        turn = angle(np.linspace(first, last, count))  # 0 points up, 90 to the image's left
        return np.stack([centre[0] - width * np.sin(turn), centre[1] - height * np.cos(turn)], 1)

    points = np.full((468, 2), 50.0)
    # Outlines as MediaPipe publishes them, each followed along the image's left half or the image's left feature.
    for chain, places in (
        ([10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152],
         arc((50, 50), 40, 48, 0, 180, 19)),
        ([0, 37, 39, 40, 185, 61, 146, 91, 181, 84, 17], arc((50, 76), 16, 7, 0, 180, 11)),
        ([168, 48, 64, 98, 97, 2], np.array([[50, 38], [42, 58], [42, 61], [45, 63], [48, 63], [50, 63]], float)),
        ([159, 160, 161, 246, 33, 7, 163, 144, 145], arc((32, 40), 9, 4, 0, 180, 9)),
        ([145, 153, 154, 155, 133, 173, 157, 158, 159], arc((32, 40), 9, 4, 180, 360, 9)),
        ([46, 53, 52, 65, 55], np.stack([np.linspace(22, 43, 5), np.full(5, 30.0)], 1)),
        ([70, 63, 105, 66, 107], np.stack([np.linspace(22, 43, 5), np.full(5, 26.0)], 1)),
    ):  # fmt: skip
        points[chain] = places
    return np.where(points == 50.0, mirror_landmarks(points, 100), points)


def test_the_mesh_outlines_the_regions_and_knows_its_mirror_image() -> None:
    # Pairs that every list of MediaPipe's points gives: outer and inner corners of the eyes, corners of the mouth,
    # wings of the nose, cheekbones, brows; and points on the line of symmetry.
    for left, right in ((33, 263), (133, 362), (61, 291), (64, 294), (234, 454), (70, 300), (107, 336), (159, 386)):
        assert SCHEMES[468].mirrored[left] == right
    assert all(SCHEMES[468].mirrored[point] == point for point in (0, 1, 2, 4, 10, 13, 14, 17, 152, 168, 199))
    points = mesh_like()
    names = [name for name, _ in landmark_polygons(points)]
    assert names == ["skin", "nose", "mouth", "brows", "brows", "eyes", "eyes"]
    drawn = landmark_region_map(4 * points, (400, 400))
    assert (drawn == drawn[:, ::-1]).mean() > 0.98  # all but outlines, which the rasteriser rounds one way
    for name, x, y in (
        *(("eyes", 32, 40), ("eyes", 68, 40), ("brows", 32, 28), ("brows", 68, 28), ("nose", 50, 55)),
        *(("mouth", 50, 76), ("skin", 50, 90), ("skin", 50, 15), ("skin", 20, 55), ("background", 3, 3)),
    ):
        assert drawn[4 * y, 4 * x] == region_label(name), name
    shares = {name: (drawn == region_label(name)).mean() for name in ("skin", "mouth", "eyes")}
    assert abs(shares["mouth"] - np.pi * 16 * 7 / 1e4) < 0.004
    assert abs(shares["eyes"] - 2 * 1.15**2 * np.pi * 9 * 4 / 1e4) < 0.004


@pytest.mark.parametrize("count", SCHEMES)
def test_mirroring_twice_is_nothing_and_keeps_left_on_the_left(count: int) -> None:
    order = SCHEMES[count].mirrored
    assert sorted(order) == list(range(count)) and [order[point] for point in order] == list(range(count))
    points = ProceduralFaces(seed=1, size=64, count=1)[0].metadata["landmarks"]
    points = {5: five_of(points), 68: points, 468: mesh_like()}[count]
    mirrored = mirror_landmarks(points, 64)
    assert np.allclose(mirror_landmarks(mirrored, 64), points, atol=1e-4)
    eyes = {5: (0, 1), 68: (36, 45), 468: (33, 263)}[count]
    assert mirrored[eyes[0], 0] < mirrored[eyes[1], 0]


def test_landmarks_draw_the_regions_where_the_generator_drew_them() -> None:
    overlaps: dict[tuple[int, str], list[float]] = {}
    for sample in (ProceduralFaces(seed=5, size=128, count=40, occluder_probability=0)[i] for i in range(40)):
        points = sample.metadata["landmarks"]
        for number, marks in ((68, points), (5, five_of(points))):
            drawn = landmark_region_map(marks, (128, 128))
            assert drawn.dtype == np.uint8 and drawn.shape == (128, 128)
            for name in ("eyes", "mouth", "nose", "brows"):
                ours, theirs = drawn == region_label(name), sample.region_map == region_label(name)
                if theirs.sum() > 20:
                    overlaps.setdefault((number, name), []).append((ours & theirs).sum() / (ours | theirs).sum())
    medians = {key: float(np.median(values)) for key, values in overlaps.items()}
    for (number, name), median in medians.items():
        assert median > {68: 0.3, 5: 0.15}[number], (number, name, medians)


def test_a_mirrored_face_has_the_mirrored_region_map() -> None:
    sample = ProceduralFaces(seed=2, size=96, count=1)[0]
    points = sample.metadata["landmarks"]
    straight = landmark_region_map(points, (96, 96))
    mirrored = landmark_region_map(mirror_landmarks(points, 96), (96, 96))
    assert (straight[:, ::-1] == mirrored).mean() > 0.96  # all but outlines, which the rasteriser rounds one way


@pytest.mark.parametrize("count", SCHEMES)
def test_hair_is_guessed_above_the_eyes_and_behind_the_face(count: int) -> None:
    points = ProceduralFaces(seed=1, size=64, count=1)[0].metadata["landmarks"]
    points = {5: five_of(points), 68: points, 468: mesh_like() * 0.64}[count]
    without, drawn = (landmark_region_map(points, (64, 64), hair=hair) for hair in (False, True))
    hair = drawn == region_label("hair")
    assert np.array_equal(drawn[~hair], without[~hair]) and not without[hair].any()
    assert hair.any() and np.nonzero(hair)[0].max() <= np.nonzero(drawn == region_label("eyes"))[0].max() + 1


def test_other_points_are_refused() -> None:
    for points in (np.zeros((4, 2)), np.zeros((478, 2)), np.zeros((68, 3)), np.full((5, 2), np.nan)):
        with pytest.raises(InputError, match=r"landmarks: shape .* one of \(5, 2\), \(68, 2\), \(468, 2\)"):
            landmark_region_map(points, (8, 8))
