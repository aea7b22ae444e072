"""Masks of facial regions by name: from landmarks or a label map to masked tokens."""

from __future__ import annotations

import numpy as np
import pytest

from gptface.data.region_masks import EXPRESSIVE_REGIONS, face_region_grid, guidance_masks, region_masks
from gptface.errors import InputError
from gptface.faces.landmarks import landmark_region_map
from gptface.faces.region_grid import region_grid
from gptface.faces.regions import REGIONS, region_label
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
