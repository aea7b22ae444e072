from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gptface.data.procedural import (
    FaceSpecification,
    attributes,
    render_face,
    sample_specification,
    with_attribute,
)
from gptface.errors import InputError
from gptface.faces.areas import Area, area_mask, dilate_mask, region_area
from gptface.faces.attributes import ATTRIBUTES, LABELLED_ATTRIBUTES, attribute_area
from gptface.faces.expressions import LABELLED_EXPRESSIONS, expression_area
from gptface.faces.occluders import OCCLUDER_AREA, OCCLUDERS
from gptface.faces.regions import REGIONS
from gptface.faces.templates import TEMPLATES

SIZE = 64
FACES = [replace(sample_specification(77, index), occluder="none") for index in range(25)]


def coverage(area: Area, change: Callable[[FaceSpecification], FaceSpecification]) -> list[float]:
    """Share of visibly changed pixels that the area takes in, a face each."""
    shares = []
    for face in FACES:
        before, after = render_face(face, SIZE), render_face(change(face), SIZE)
        changed = np.abs(before.image.astype(int) - after.image).max(-1) > 24
        if changed.sum() >= 10:
            shares.append((changed & area_mask(before.region_map, area)).sum() / changed.sum())
    return shares


# A double chin widens the whole jaw line, sex every proportion: there the area takes what the wish is mostly about.
@pytest.mark.parametrize("name", [name for name in LABELLED_ATTRIBUTES if name not in ("Double_Chin", "Male")])
def test_the_area_of_an_attribute_is_where_it_shows(name: str) -> None:
    def change(face: FaceSpecification) -> FaceSpecification:
        return face if attributes(face)[name] else with_attribute(face, name, 1)

    assert np.mean(coverage(ATTRIBUTES[name].area, change)) > (0.75 if name == "Smiling" else 0.85)


# Brows, eyes and mouth hold most of what an expression changes, not all: the skin around them follows a little, and
# the jaw of a surprised face drops. An area with all of it is half the picture and leaves little of the person.
@pytest.mark.parametrize("name", LABELLED_EXPRESSIONS)
def test_the_area_of_an_expression_is_where_it_shows(name: str) -> None:
    assert np.mean(coverage(expression_area(name), lambda face: replace(face, expression=name))) > 0.8
    assert (
        np.mean([area_mask(render_face(face, SIZE).region_map, expression_area(name)).mean() for face in FACES]) < 0.25
    )


def test_areas_leave_most_of_the_face_alone() -> None:
    labels = render_face(FACES[0], SIZE).region_map
    for name, largest in (("Wearing_Lipstick", 0.14), ("Eyeglasses", 0.35), ("Mustache", 0.28), ("Blond_Hair", 0.6)):
        assert area_mask(labels, ATTRIBUTES[name].area).mean() < largest, name


def test_the_occluder_is_covered_with_room_to_spare() -> None:
    for index, occluder in enumerate(OCCLUDERS):
        face = render_face(replace(FACES[index], occluder=occluder), SIZE)
        mask = area_mask(face.region_map, OCCLUDER_AREA)
        assert (mask & face.occluder_mask).sum() == face.occluder_mask.sum()
        assert mask.sum() > 1.1 * face.occluder_mask.sum()


def test_the_template_lies_where_aligned_faces_have_their_features() -> None:
    template = TEMPLATES["portrait"].region_map(SIZE)
    for region in ("brows", "eyes", "nose", "mouth", "skin"):
        label = REGIONS.index(region)
        heights = [np.nonzero(render_face(face, SIZE).region_map == label)[0] for face in FACES]
        middle = np.median([rows.mean() for rows in heights if rows.size])
        assert abs(np.nonzero(template == label)[0].mean() - middle) < 0.04 * SIZE, region
    tight = TEMPLATES["tight"].region_map(SIZE)
    assert (tight == REGIONS.index("skin")).mean() > (template == REGIONS.index("skin")).mean()


def test_hair_that_is_not_there_is_put_where_hair_goes() -> None:
    bald = render_face(replace(FACES[1], bald=True, hat=False), SIZE).region_map
    assert not (bald == REGIONS.index("hair")).any()
    assert area_mask(bald, ATTRIBUTES["Blond_Hair"].area).mean() > 0.2


def test_taking_away_may_concern_another_area() -> None:
    assert attribute_area("no Eyeglasses") == attribute_area("Eyeglasses")
    assert attribute_area("no Bald") != attribute_area("Bald")


def test_unknown_names_bring_the_nearest_ones() -> None:
    with pytest.raises(InputError, match="Blond_Hair"):
        attribute_area("blonde hair")
    with pytest.raises(InputError, match=r"Gray_Hair|hair"):
        attribute_area("hair")
    with pytest.raises(InputError, match="happiness"):
        expression_area("happy")
    with pytest.raises(InputError, match="eyebrow"):
        region_area(["eyebrow"])
    with pytest.raises(InputError, match="region_map"):
        area_mask(np.zeros((4, 4)), Area(("hair",)))
    with pytest.raises(InputError, match="hair"):
        area_mask(np.zeros((4, 4), dtype=np.uint8), Area(("hair",)), ("background", "face"))


def test_dilation_is_a_square() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 4] = True
    assert dilate_mask(mask, 2).sum() == 25 and dilate_mask(mask, 0) is mask


@pytest.mark.parametrize("radius", [1, 3, 20])
def test_dilation_by_definition(radius: int) -> None:
    mask = np.random.default_rng(radius).random((13, 17)) < 0.03
    rows, columns = np.nonzero(mask)
    expected = np.array(
        [[(np.maximum(abs(rows - y), abs(columns - x)) <= radius).any() for x in range(17)] for y in range(13)]
    )
    assert np.array_equal(dilate_mask(mask, radius), expected)
