"""Covers lie where they should, and nothing else is painted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gptface.data.procedural import render_face, sample_specification
from gptface.errors import InputError
from gptface.evaluation.painted_masks import COVERS, covered
from gptface.faces.regions import region_label


def bare(index: int) -> Any:
    """A procedural face with nothing before it."""
    return render_face(replace(sample_specification(5, index), occluder="none", glasses=False), 64)


@pytest.mark.parametrize("name", COVERS)
@pytest.mark.parametrize("index", range(3))
def test_a_cover_is_painted_on_its_pixels_alone(name: str, index: int) -> None:
    face = bare(index)
    painted, mask = covered(face.image, face.region_map, name, np.random.default_rng(index))
    assert 0.01 < mask.mean() < 0.5
    assert (painted[mask] == COVERS[name].level).all()
    np.testing.assert_array_equal(painted[~mask], face.image[~mask])


@pytest.mark.parametrize(
    ("name", "hidden", "seen"),
    [("medical_mask", "mouth", "eyes"), ("sunglasses", "eyes", "mouth"), ("mouth", "mouth", "eyes")],
)
def test_covers_hide_what_they_are_named_after(name: str, hidden: str, seen: str) -> None:
    face = bare(1)
    regions = face.region_map
    assert (regions == region_label(hidden)).any() and (regions == region_label(seen)).any()
    _, mask = covered(face.image, regions, name, np.random.default_rng(0))
    assert mask[regions == region_label(hidden)].all()
    assert not mask[regions == region_label(seen)].any()


def test_a_block_lies_on_the_face_and_in_the_picture() -> None:
    face = bare(1)
    masks = [covered(face.image, face.region_map, "block", np.random.default_rng(seed))[1] for seed in range(30)]
    assert {int(mask.sum()) for mask in masks} == {19 * 19}
    assert len({mask.tobytes() for mask in masks}) > 10


def test_where_nothing_is_known_nothing_is_covered() -> None:
    image, nothing = np.full((32, 32, 3), 90, np.uint8), np.zeros((32, 32), np.uint8)
    for name in COVERS:
        painted, mask = covered(image, nothing, name, np.random.default_rng(0))
        assert not mask.any() and (painted == image).all(), name
    with pytest.raises(InputError, match="cover 'scarf' is unknown"):
        covered(image, nothing, "scarf", np.random.default_rng(0))
    with pytest.raises(InputError, match="they must be as large"):
        covered(image, nothing[:16], "mouth", np.random.default_rng(0))
