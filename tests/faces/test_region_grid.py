from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import gptface.data.procedural as faces
from gptface.data.procedural import ProceduralFaces
from gptface.errors import InputError
from gptface.faces.landmarks import MIRRORED_ORDER, landmark_region_map, mirror_landmarks
from gptface.faces.region_grid import pixel_mask, region_grid, token_mask
from gptface.faces.regions import REGIONS, region_label

GRIDS = st.tuples(st.integers(1, 8), st.integers(1, 8))


def test_the_generator_and_the_data_speak_of_the_same_regions() -> None:
    assert faces.REGIONS == REGIONS
    assert [region_label(name) for name in REGIONS] == list(range(len(REGIONS)))
    with pytest.raises(InputError, match="'beak' is not a region"):
        region_label("beak")


def test_a_token_belongs_to_its_majority_unless_a_small_region_has_a_share() -> None:
    skin, hair, eyes, brows = (region_label(name) for name in ("skin", "hair", "eyes", "brows"))
    labels = np.full((8, 12), skin, np.uint8)
    labels[:4, 4:7] = hair  # 3 of 4 columns of token 1
    labels[4:, 0] = eyes  # a quarter of token 3
    labels[4, 4:7] = eyes  # 3 of 16 pixels of token 4: below the share
    labels[4:, 8:11] = brows
    labels[4:, 11] = eyes  # eyes have priority over brows
    grid = region_grid(labels, (2, 3))
    assert grid.dtype == np.int64
    assert grid.tolist() == [skin, hair, skin, eyes, skin, eyes]
    assert region_grid(labels, (2, 3), small_regions=()).tolist() == [skin, hair, skin, skin, skin, brows]
    assert region_grid(labels, (2, 3), small_share=0.1).tolist() == [skin, hair, skin, eyes, eyes, eyes]
    assert region_grid(labels, (8, 12)).reshape(8, 12).tolist() == labels.tolist()


@settings(max_examples=60, deadline=None)
@given(grid=GRIDS, data=st.data())
def test_a_token_s_region_is_one_of_its_pixels(grid: tuple[int, int], data: st.DataObject) -> None:
    shape = (data.draw(st.integers(grid[0], 20)), data.draw(st.integers(grid[1], 20)))
    labels = data.draw(npst.arrays(np.uint8, shape, elements=st.integers(0, len(REGIONS) - 1)))
    cells = pixel_cells(shape, grid)
    regions = region_grid(labels, grid)
    for token, region in enumerate(regions):
        assert region in labels[cells == token]


def pixel_cells(shape: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Which token a pixel lies in, by the definition."""
    return np.array(
        [
            [y * grid[0] // shape[0] * grid[1] + x * grid[1] // shape[1] for x in range(shape[1])]
            for y in range(shape[0])
        ]
    )


@settings(max_examples=60, deadline=None)
@given(grid=GRIDS, threshold=st.sampled_from([0, 0.25, 0.5, 1.0]), data=st.data())
def test_token_masks_by_definition_and_back(grid: tuple[int, int], threshold: float, data: st.DataObject) -> None:
    shape = (data.draw(st.integers(grid[0], 17)), data.draw(st.integers(grid[1], 17)))
    mask = data.draw(npst.arrays(np.bool_, shape))
    cells = pixel_cells(shape, grid)
    tokens = token_mask(mask, grid, threshold)
    for token in range(grid[0] * grid[1]):
        share = mask[cells == token].mean()
        assert tokens[token] == (share > 0 and share >= threshold - 1e-9)
    pixels = pixel_mask(tokens, grid, shape)
    assert np.array_equal(pixels, tokens[cells])
    if threshold == 0:
        assert (pixels | ~mask).all()  # no pixel of the mask is left out
    assert np.array_equal(token_mask(pixels, grid, 1.0), tokens)


def test_bad_arguments() -> None:
    labels = np.zeros((8, 8), np.uint8)
    for call, message in (
        (lambda: region_grid(labels, (9, 4)), "9x4 tokens on 8x8"),
        (lambda: region_grid(labels + 13, (2, 2)), "labels from 13"),
        (lambda: region_grid(labels[0], (2, 2)), r"shape \(8,\)"),
        (lambda: region_grid(labels, (2, 2), small_regions=("beak",)), "beak"),
        (lambda: token_mask(labels, (2, 2)), "dtype uint8"),
        (lambda: token_mask(labels > 0, (2, 2), 1.5), "threshold"),
        (lambda: pixel_mask(np.ones(5, bool), (2, 2), (8, 8)), r"shape \(5,\)"),
        (lambda: landmark_region_map(np.zeros((4, 2)), (8, 8)), "landmarks"),
        (lambda: landmark_region_map(np.full((5, 2), np.nan), (8, 8)), "landmarks"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def five_of(points: np.ndarray) -> np.ndarray:
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


@pytest.mark.parametrize("count", [5, 68])
def test_mirroring_twice_is_nothing_and_keeps_left_on_the_left(count: int) -> None:
    order = MIRRORED_ORDER[count]
    assert sorted(order) == list(range(count)) and [order[point] for point in order] == list(range(count))
    points = ProceduralFaces(seed=1, size=64, count=1)[0].metadata["landmarks"]
    points = points if count == 68 else five_of(points)
    mirrored = mirror_landmarks(points, 64)
    assert np.allclose(mirror_landmarks(mirrored, 64), points, atol=1e-4)
    eyes = (36, 45) if count == 68 else (0, 1)
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
