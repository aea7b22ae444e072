"""Masks of facial regions by name: from landmarks or a label map to masked tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.data.region_masks import (
    EXPRESSIVE_REGIONS,
    REGION_GROUPS,
    draw_groups,
    face_region_grid,
    group_masks,
    guidance_masks,
    region_masks,
)
from gptface.errors import InputError
from gptface.faces.landmarks import landmark_region_map
from gptface.faces.region_grid import region_grid
from gptface.faces.regions import REGIONS, region_label
from gptface.faces.token_regions import TOKEN_REGIONS, token_regions
from gptface.ops import sample_span_mask

GRID, SIZE = (12, 12), (96, 96)
FIVE = np.array([[33.0, 40.0], [63.0, 40.0], [48.0, 56.0], [37.0, 70.0], [59.0, 70.0]])


def test_landmarks_and_label_maps_give_the_same_grid() -> None:
    labels = landmark_region_map(FIVE, SIZE)
    by_points, by_map = face_region_grid(FIVE, GRID, SIZE), face_region_grid(labels, GRID)
    np.testing.assert_array_equal(by_points, by_map)
    np.testing.assert_array_equal(by_map, region_grid(labels, GRID))
    assert by_points.shape == (144,)
    for name in EXPRESSIVE_REGIONS:
        assert (by_points == region_label(name)).any(), name


def test_whole_regions_are_masked_together() -> None:
    regions = face_region_grid(FIVE, GRID, SIZE)[None].repeat(300, 0)
    spec = region_masks(GRID, 0.1, {"eyes": 1.0, "mouth": 1.0})
    mask = sample_span_mask(spec, seed=0, step=0, sample_ids=np.arange(300), region_map=regions).mask
    assert (mask.sum(1) == round(0.1 * 144)).all()
    whole = [mask[:, regions[0] == region_label(name)].all(1) for name in ("eyes", "mouth")]
    assert (whole[0] | whole[1]).all()  # the budget holds at least one of them
    default = region_masks(GRID)
    assert len(default.weights) == len(REGIONS) and default.weights[region_label("background")] == 0  # type: ignore[index]


def test_guidance_keeps_the_eyes_and_masks_anything_else() -> None:
    regions = face_region_grid(FIVE, GRID, SIZE)[None].repeat(500, 0)
    eyes = regions[0] == region_label("eyes")
    mask = sample_span_mask(
        guidance_masks(GRID, 0.6), seed=0, step=0, sample_ids=np.arange(500), region_map=regions
    ).mask
    assert not mask[:, eyes].any() and (mask.sum(1) == round(0.6 * int((~eyes).sum()))).all()
    assert mask[:, ~eyes].any(0).all()
    keep = guidance_masks(GRID, 1.0, keep=EXPRESSIVE_REGIONS)
    mask = sample_span_mask(keep, seed=0, step=0, sample_ids=np.arange(500), region_map=regions).mask
    expected = ~np.isin(regions, [region_label(name) for name in EXPRESSIVE_REGIONS])
    np.testing.assert_array_equal(mask, expected)


def test_bad_calls_are_named() -> None:
    with pytest.raises(InputError, match="size"):
        face_region_grid(FIVE, GRID)
    with pytest.raises(InputError, match="face"):
        face_region_grid(np.zeros((3, 4, 4), np.int64), GRID)
    with pytest.raises(InputError, match="landmarks"):
        face_region_grid(FIVE[:4], GRID, SIZE)
    with pytest.raises(InputError, match="nostril"):
        region_masks(GRID, weights={"nostril": 1.0})


def some_regions(count: int, seed: int = 0) -> torch.Tensor:
    """Token regions (count, 144) of faces at different places, of which there are 60."""
    shifts = np.random.default_rng(seed).integers(-8, 8, (60, 2))
    maps = np.stack([landmark_region_map(FIVE + shift, SIZE, hair=True) for shift in shifts])
    return token_regions(torch.from_numpy(maps), GRID, boundary=True).repeat(count // 60 + 1, 1)[:count]


@pytest.mark.parametrize("ratio", [0.4, 0.75])
def test_one_group_is_masked_whole_and_the_others_in_proportion(ratio: float) -> None:
    regions, ids = some_regions(600), torch.arange(600) << 40
    drawn = draw_groups(regions, ids, seed=3, step=9)
    labels = [TOKEN_REGIONS.index(name) for name in REGION_GROUPS]
    mask = sample_span_mask(group_masks(GRID, ratio), seed=3, step=9, sample_ids=ids, region_map=drawn).mask
    assert (mask.sum(1) == round(ratio * 144)).all()
    assert mask[drawn == 1].all()
    shares = torch.zeros(len(TOKEN_REGIONS))
    for row, group in zip(regions, drawn == 1, strict=True):
        (label,) = row[group].unique().tolist()  # one region, and all of it
        assert torch.equal(row == label, group)
        shares[label] += 1 / 600
    assert (shares[labels] - 1 / 6).abs().max() < 0.06 and torch.isclose(shares.sum(), torch.tensor(1.0))
    for label in labels:  # what is not drawn is masked as often as anything else, so that it is often seen
        others = mask[(regions == label) & (drawn == 0)].double().mean()
        assert abs(float(others) - ratio) < 0.12


def test_a_face_s_group_is_its_own() -> None:
    regions, ids = some_regions(40), torch.from_numpy(np.random.default_rng(1).integers(0, 2**63 - 1, 40))
    drawn = draw_groups(regions, ids, seed=1 << 62, step=5)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:17]
    assert torch.equal(draw_groups(regions[order], ids[order], seed=1 << 62, step=5), drawn[order])
    for other in (draw_groups(regions, ids, seed=1, step=5), draw_groups(regions, ids, seed=1 << 62, step=6)):
        assert not torch.equal(other, drawn)


def test_groups_have_weights_and_only_seen_ones_are_drawn() -> None:
    regions, ids = some_regions(900), torch.arange(900)
    mouth, eyes, hat = (region_label(name) for name in ("mouth", "eyes", "hat"))
    drawn = draw_groups(regions, ids, seed=0, step=0, groups={"mouth": 3.0, "eyes": 1.0, "hat": 50.0})
    share = torch.stack([((regions == label) & (drawn == 1)).any(1) for label in (mouth, eyes, hat)]).double().mean(1)
    assert abs(float(share[0]) - 0.75) < 0.05 and abs(float(share[1]) - 0.25) < 0.05 and not share[2]
    none = draw_groups(regions, ids, seed=0, step=0, groups=["hat"])
    assert not none.any()
    mask = sample_span_mask(group_masks(GRID, 0.5), seed=0, step=0, sample_ids=ids, region_map=none).mask
    assert (mask.sum(1) == 72).all()


def test_bad_groups_are_named() -> None:
    regions, ids = some_regions(2), torch.arange(2)
    for groups, expected in (([], "groups: "), ({"eyes": 0.0}, "groups: "), (["nostril"], "nostril")):
        with pytest.raises(InputError, match=expected):
            draw_groups(regions, ids, seed=0, step=0, groups=groups)
