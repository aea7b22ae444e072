"""The residual stem: a state a patch, row by row, each of what is around it; any memory layout."""

from __future__ import annotations

import pytest
import torch

from gptface.models.residual_stem import ResidualStem


@pytest.mark.parametrize(("patch_size", "height", "width"), [(4, 8, 12), (8, 16, 24), (16, 32, 64)])
def test_a_state_a_patch(patch_size: int, height: int, width: int) -> None:
    stem = ResidualStem(patch_size, 32, channels=1)
    states = stem(torch.randn(2, 1, height, width))
    assert states.shape == (2, (height // patch_size) * (width // patch_size), 32)


def test_states_come_row_by_row() -> None:
    torch.manual_seed(0)
    stem = ResidualStem(4, 32, channels=3).double()
    images = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    changed = images.clone()
    changed[..., :4, -4:] = 1  # the patch in the upper right corner
    moved = (stem(changed) - stem(images)).norm(dim=-1).view(16, 16)
    assert moved.argmax() == 15
    assert not moved[8:, :8].any()


def test_pictures_of_any_memory_layout() -> None:
    torch.manual_seed(0)
    stem = ResidualStem(8, 32, channels=3)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(stem(images.contiguous(memory_format=torch.channels_last)), stem(images))
    expanded = images[:1].expand(3, -1, -1, -1)
    torch.testing.assert_close(stem(expanded)[:1], stem(images[:1]), atol=1e-5, rtol=1e-5)
