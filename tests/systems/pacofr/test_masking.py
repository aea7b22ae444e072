"""Which patches are masked: exactly as many, by facial groups, and each face by itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.data.region_masks import REGION_GROUPS
from gptface.faces.token_regions import TOKEN_REGIONS
from gptface.systems.pacofr.masking import PatchMask, draw_mask

GRID = (6, 6)
GROUPS = [TOKEN_REGIONS.index(name) for name in REGION_GROUPS]


def make_regions(batch: int, seed: int = 0) -> Tensor:
    """Skin with two or three patches of every group, anywhere."""
    torch.manual_seed(seed)
    regions = torch.full((batch, 36), TOKEN_REGIONS.index("skin"))
    for row in regions:
        places = torch.randperm(36)
        for number, group in enumerate(GROUPS):
            row[places[3 * number : 3 * number + 2 + number % 2]] = group
    return regions


def assert_consistent(mask: PatchMask) -> None:
    """The rows, places and bounds all say what ``masked`` says."""
    flat = mask.masked.flatten()
    kinds = (mask.masked_rows, mask.masked_places, flat), (mask.visible_rows, mask.visible_places, ~flat)
    for rows, places, wanted in kinds:
        assert torch.equal(rows, wanted.nonzero().squeeze(1))
        assert torch.equal(places >= 0, wanted)
        assert torch.equal(places[rows], torch.arange(len(rows)))
    shown = (~mask.masked).sum(1)
    assert torch.equal(mask.cu_visible, torch.cat([torch.zeros(1, dtype=torch.int64), shown.cumsum(0)]))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.floats(0.05, 0.95), st.booleans(), st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
def test_a_ratio_is_an_exact_count(batch: int, ratio: float, by_regions: bool, seed: int, step: int) -> None:
    regions = make_regions(batch) if by_regions else None
    mask = draw_mask(regions, torch.arange(batch), GRID, ratio, seed=seed, step=step)
    count = round(ratio * 36)
    assert mask.masked.sum(1).tolist() == [count] * batch
    assert mask.visible_each == 36 - count and mask.attention_mask() is None
    assert_consistent(mask)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.floats(0.05, 0.5), st.floats(0.5, 0.95), st.booleans(), st.integers(0, 999))
def test_a_range_stays_in_its_bounds(batch: int, low: float, high: float, by_regions: bool, seed: int) -> None:
    regions = make_regions(batch) if by_regions else None
    mask = draw_mask(regions, torch.arange(batch), GRID, (low, high), seed=seed, step=0)
    counts = mask.masked.sum(1)
    assert round(low * 36) <= int(counts.min()) and int(counts.max()) <= round(high * 36)
    assert mask.visible_each is None and mask.usable is None
    assert_consistent(mask)
    attention = mask.attention_mask()
    assert attention is not None
    pictures = mask.visible_rows // 36
    assert torch.equal(attention.to_dense()[0], pictures[:, None] == pictures)


def test_a_range_is_used() -> None:
    counts = draw_mask(None, torch.arange(200), GRID, (0.2, 0.8), seed=0, step=0).masked.sum(1)
    assert len(counts.unique()) > 15 and 0.45 < float(counts.float().mean()) / 36 < 0.55


def test_one_group_of_a_face_is_masked_whole_and_the_rest_in_proportion() -> None:
    regions = make_regions(1).expand(2000, -1)
    mask = draw_mask(regions, torch.arange(2000), GRID, 0.5, seed=1, step=2)
    whole = torch.stack([(mask.masked | (regions != group)).all(1) for group in GROUPS], 1)
    assert whole.any(1).all()
    # Each of six groups is drawn a sixth of the times, and is whole by chance now and then.
    assert ((whole.float().mean(0) > 1 / 6 - 0.03) & (whole.float().mean(0) < 0.5)).all()
    for group in GROUPS:
        others = whole[:, GROUPS.index(group)].logical_not()
        share = mask.masked[others][:, regions[0] == group].float().mean()
        assert 0.2 < float(share) < 0.6  # seen often, and masked often


@pytest.mark.parametrize("by_regions", [False, True])
def test_a_mask_belongs_to_a_face_and_a_moment(by_regions: bool) -> None:
    regions, ids = make_regions(8), torch.randint(-(2**63), 2**63 - 1, (8,))
    order = torch.randperm(8)

    def drawn(rows: Tensor, *, seed: int = 3, step: int = 4) -> Tensor:
        return draw_mask(regions[rows] if by_regions else None, ids[rows], GRID, 0.6, seed=seed, step=step).masked

    everything = torch.arange(8)
    assert torch.equal(drawn(order), drawn(everything)[order])
    assert torch.equal(drawn(everything[2:5]), drawn(everything)[2:5])
    for other in (drawn(everything, seed=4), drawn(everything, step=5)):
        assert (other != drawn(everything)).any(1).sum() >= 7


def test_a_second_view_is_masked_by_itself() -> None:
    """Its identity differs in a high bit, and the regions it shows are its own."""
    ids = torch.arange(300)
    both = torch.cat([ids, ids ^ (1 << 62)])
    masked = draw_mask(None, both, GRID, 0.5, seed=0, step=0).masked
    shared = (masked[:300] & masked[300:]).float().mean()
    assert float(shared) == pytest.approx(0.25, abs=0.02)  # independent
