"""Masks of wishes on the grid of tokens against the rule for pixels, and what they hide in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.data.procedural import ProceduralFaces
from gptface.errors import InputError
from gptface.faces.areas import area_mask
from gptface.faces.regions import REGIONS, region_label
from gptface.faces.token_regions import token_regions
from gptface.systems.gptface.configuration import PretrainSection
from gptface.systems.gptface.configuration_language import FaceLanguageConfig
from gptface.systems.gptface.generation.editing import token_mask
from gptface.systems.gptface.masking import Masking
from gptface.systems.gptface.pairs import Pairs
from gptface.systems.gptface.wish_masks import WishAreas, wishes

GRID, CODES = (16, 16), 32


@pytest.fixture(scope="module")
def region_maps() -> np.ndarray:
    faces = ProceduralFaces(seed=7, size=64, count=24)
    return np.stack([faces[index].region_map for index in range(24)])


def test_on_real_maps_they_are_what_an_edit_would_renew(region_maps: np.ndarray) -> None:
    regions, areas = token_regions(torch.from_numpy(region_maps), GRID), WishAreas(GRID)
    for place, (area, _) in enumerate(wishes()):
        drawn = areas.mask(regions, torch.full((len(regions),), place))
        pixels = torch.from_numpy(np.stack([area_mask(region_map, area) for region_map in region_maps]))
        wanted = token_mask(pixels, GRID)
        overlap = float((drawn & wanted).sum() / (drawn | wanted).sum())
        assert overlap > 0.65, area  # lips two pixels high, widened by one, are the worst


def test_one_region_is_widened_by_a_token_and_others_by_their_zone() -> None:
    regions = torch.full(GRID, region_label("background"))
    regions[4:12, 4:12] = region_label("skin")
    regions[9, 7:9] = region_label("mouth")
    areas = WishAreas(GRID)
    named = {(area.regions, area.zones): place for place, (area, _) in enumerate(wishes())}
    mouth = areas.mask(regions.view(1, -1), torch.tensor([named[("mouth",), ()]]))
    wanted = torch.zeros(GRID, dtype=torch.bool)
    wanted[8:11, 6:10] = True
    assert torch.equal(mouth.view(GRID), wanted)
    cheeks = areas.mask(regions.view(1, -1), torch.tensor([named[(), ("cheeks",)]]))
    wanted = torch.zeros(GRID, dtype=torch.bool)
    wanted[7:12, 4:12] = True  # 0.40 to 0.90 of a face from 4 to 12
    assert torch.equal(cheeks.view(GRID), wanted)


def test_without_a_face_everything_may_be_hidden() -> None:
    nobody = torch.full((3, 256), region_label("background"))
    assert WishAreas(GRID).draw(nobody).all()


def test_half_of_the_wishes_are_expressions() -> None:
    features = {area: chance for area, chance in wishes() if area.regions == ("brows", "eyes", "mouth")}
    assert features and sum(features.values()) == pytest.approx(0.5)
    assert sum(chance for _, chance in wishes()) == pytest.approx(1)


def test_rows_of_edits_hide_nothing_elsewhere_and_their_tokens_weigh_as_told(region_maps: np.ndarray) -> None:
    torch.manual_seed(0)
    regions = token_regions(torch.from_numpy(region_maps), GRID)
    regions[:] = torch.where(regions == region_label("mouth"), regions, region_label("background"))
    count = len(regions)
    section = PretrainSection(image_masks={"random": 0, "blocks": 0, "regions": 0, "edits": 1}, losses={"edits": 3})
    config = FaceLanguageConfig.tiny(codebook_size=CODES, image_grid=list(GRID), max_text_length=4)
    pairs = Pairs(
        torch.randint(0, CODES, (count, 256)),
        torch.zeros(count, 4, dtype=torch.int64),
        torch.full((count,), 4),
        torch.arange(count),
        regions=regions,
    )
    masking = Masking(config, section)
    masking.wish_areas.draw = lambda maps: maps == region_label("mouth")  # type: ignore[method-assign]
    hidden = masking.hide_image(pairs, count, step=0)
    full = (hidden.tokens == CODES).all(1)  # as generation begins
    elsewhere = (hidden.tokens == CODES) & (regions != region_label("mouth"))
    assert not elsewhere[~full].any() and (hidden.tokens == CODES)[~full].sum() > 0
    slots = torch.arange(256).expand(count, -1)
    targets = hidden.targets(pairs.codes, slots, 256)
    assert targets.weights is not None
    chosen = targets.positions >= 0
    rows, weights = targets.positions[chosen] // 256, targets.weights[chosen]
    assert torch.equal(weights, torch.where(full[rows], 1.0, 3.0))
    assert torch.equal(targets.labels[chosen], pairs.codes.flatten()[targets.positions[chosen]])
    assert int(chosen.sum()) == int((hidden.tokens == CODES).sum())


def test_areas_name_regions_that_exist() -> None:
    assert {name for area, _ in wishes() for name in area.regions} <= set(REGIONS)


def test_a_weight_of_edits_that_nothing_would_use_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"edits: 3 needs image_masks\.edits"):
        PretrainSection(losses={"edits": 3})


def test_without_regions_masks_of_edits_are_an_error_and_not_other_masks() -> None:
    section = PretrainSection(image_masks={"random": 0, "blocks": 0, "regions": 0, "edits": 1})
    config = FaceLanguageConfig.tiny(codebook_size=CODES, image_grid=list(GRID), max_text_length=4)
    text = torch.zeros(3, 4, dtype=torch.int64)
    pairs = Pairs(torch.zeros(3, 256, dtype=torch.int64), text, torch.full((3,), 4), torch.arange(3))
    with pytest.raises(InputError, match=r"pairs\.regions: masks as edits make them"):
        Masking(config, section).hide_image(pairs, 3, step=0)
