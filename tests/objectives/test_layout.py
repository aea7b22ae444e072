"""Where regions lie in every patch, against loops over cells."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptface.errors import InputError
from gptface.objectives import layout_cells, layout_loss


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_a_cell_is_the_region_at_its_middle(rows: int, columns: int, cells: int, pixels: int, seed: int) -> None:
    size = cells * pixels
    maps = torch.randint(0, 13, (2, rows * size, columns * size), generator=torch.manual_seed(seed)).byte()
    found = layout_cells(maps, (rows, columns), cells)
    assert found.shape == (2, rows * columns, cells**2) and found.dtype == torch.uint8
    for y in range(rows):
        for x in range(columns):
            patch = maps[:, y * size : (y + 1) * size, x * size : (x + 1) * size]
            middles = patch[:, pixels // 2 :: pixels, pixels // 2 :: pixels].flatten(1)
            assert torch.equal(found[:, y * columns + x], middles)


def test_fewer_pixels_than_cells_are_refused() -> None:
    with pytest.raises(InputError, match=r"region_maps: 8x7 pixels; 8x8 cells need a pixel each"):
        layout_cells(torch.zeros(1, 8, 7, dtype=torch.uint8), (2, 2), 4)


def test_the_loss_is_the_mean_over_patches_that_are_there() -> None:
    torch.manual_seed(0)
    logits, cells = torch.randn(6, 4, 5), torch.randint(0, 5, (6, 4)).byte()
    likelihood = logits.double().softmax(-1).gather(2, cells.long()[..., None]).squeeze(2)
    wanted = -likelihood.log().mean(1)
    torch.testing.assert_close(layout_loss(logits, cells).double(), wanted.mean(), rtol=1e-5, atol=1e-6)
    some = torch.tensor([True, False, True, True, False, False])
    found = layout_loss(logits, cells, usable=some).double()
    torch.testing.assert_close(found, wanted[some].mean(), rtol=1e-5, atol=1e-6)
    found = layout_loss(logits, cells, torch.tensor(12.0)).double()
    torch.testing.assert_close(found, wanted.mean() / 2, rtol=1e-5, atol=1e-6)
    assert layout_loss(logits, cells, usable=torch.zeros(6, dtype=torch.bool)).item() == 0
