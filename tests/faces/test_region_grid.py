from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gptface.errors import InputError
from gptface.faces.region_grid import region_grid
from gptface.faces.regions import REGIONS, region_label

GRIDS = st.tuples(st.integers(1, 8), st.integers(1, 8))


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


def test_bad_arguments() -> None:
    labels = np.zeros((8, 8), np.uint8)
    for call, message in (
        (lambda: region_grid(labels, (9, 4)), "9x4 tokens on 8x8"),
        (lambda: region_grid(labels + 13, (2, 2)), "labels from 13"),
        (lambda: region_grid(labels[0], (2, 2)), r"shape \(8,\)"),
        (lambda: region_grid(labels, (2, 2), small_regions=("beak",)), "beak"),
    ):
        with pytest.raises(InputError, match=message):
            call()
