"""Token regions of a batch: the rule of ``region_grid``, and the outline of the face as a region of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gptface.errors import InputError
from gptface.faces import token_regions as module
from gptface.faces.region_grid import region_grid
from gptface.faces.regions import REGIONS, region_label
from gptface.faces.token_regions import SKIN_BOUNDARY, TOKEN_REGIONS, token_regions

SKIN, EYES, HAIR = (region_label(name) for name in ("skin", "eyes", "hair"))


@settings(max_examples=80, deadline=None)
@given(grid=st.tuples(st.integers(1, 8), st.integers(1, 8)), data=st.data())
def test_a_batch_has_the_grids_of_its_maps(grid: tuple[int, int], data: st.DataObject) -> None:
    height, width = data.draw(st.integers(grid[0], 24)), data.draw(st.integers(grid[1], 24))
    labels = st.sampled_from(data.draw(st.lists(st.integers(0, len(REGIONS) - 1), min_size=1, max_size=5)))
    maps = data.draw(npst.arrays(np.uint8, (data.draw(st.integers(0, 3)), height, width), elements=labels))
    tokens = token_regions(torch.from_numpy(maps), grid)
    assert tokens.dtype == torch.int64 and tokens.shape == (len(maps), grid[0] * grid[1])
    assert tokens.tolist() == [region_grid(one, grid).tolist() for one in maps]


@settings(max_examples=20, deadline=None)
@given(maps=npst.arrays(np.uint8, (3, 11, 13), elements=st.integers(0, len(REGIONS) - 1)))
def test_devices_count_as_the_cpu_does(maps: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        expected = token_regions(torch.from_numpy(maps), (4, 5))
        patch.setattr(module, "_one_by_one", module._all_at_once)
        assert torch.equal(token_regions(torch.from_numpy(maps), (4, 5)), expected)


def test_skin_beside_what_is_no_face_is_its_boundary() -> None:
    outline = TOKEN_REGIONS.index(SKIN_BOUNDARY)
    assert outline == len(REGIONS)
    maps = torch.full((1, 6, 6), SKIN, dtype=torch.uint8)
    maps[0, 0, 1:5], maps[0, 4:, 5], maps[0, 3, 2] = HAIR, 0, EYES
    tokens = token_regions(maps, (6, 6), boundary=True)[0].view(6, 6)
    S, B, E, H, N = SKIN, outline, EYES, HAIR, 0
    assert tokens.tolist() == [  # the picture's own edge, at the left and below, is none
        [B, H, H, H, H, B],
        [S, B, B, B, B, S],
        [S, S, S, S, S, S],
        [S, S, E, S, S, B],
        [S, S, S, S, B, N],
        [S, S, S, S, B, N],
    ]


def test_bad_maps_are_named() -> None:
    maps = torch.zeros(2, 8, 8, dtype=torch.uint8)
    for given_maps, grid, expected in (
        (maps, (9, 4), "9x4 tokens on 8x8"),
        (maps[0], (2, 2), r"uint8 \(8, 8\)"),
        (maps.long(), (2, 2), "int64"),
        (maps + 13, (2, 2), "label 13; labels must be below 13"),
    ):
        with pytest.raises(InputError, match=expected):
            token_regions(given_maps, grid)


@pytest.mark.gpu
def test_a_device_gives_the_same_regions() -> None:
    maps = torch.from_numpy(np.random.default_rng(0).integers(0, len(REGIONS), (5, 96, 96), np.uint8))
    device = token_regions(maps.cuda(), (12, 12), boundary=True)
    assert torch.equal(device.cpu(), token_regions(maps, (12, 12), boundary=True))
