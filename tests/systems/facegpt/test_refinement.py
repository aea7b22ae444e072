"""Refined faces are nearer to the truth and to their pictures, each by itself, in colour, grey and partly hidden."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    angle_errors,
    angles_to_matrix,
    draw,
    load_morphable_model,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
    studio_light,
    vertex_distances,
)
from gptface.systems.facegpt import FaceLayout
from gptface.systems.facegpt.data.rendered import RenderedFaces
from gptface.systems.facegpt.face_system import single
from gptface.systems.facegpt.refinement import Refiner, as_seen, refine

SIZE, STEPS, COUNT = 48, 40, 4
MODEL = load_morphable_model("synthetic")
REFINER = Refiner(MODEL, FaceLayout(MODEL))
FACES = RenderedFaces(MODEL, SIZE, 11).batch(range(COUNT))
TRUTH = FACES.parameters


def started() -> FaceParameters:
    """The truth, turned by a few degrees, with nobody's identity and colours, in studio light."""
    turn = angles_to_matrix(*torch.tensor([[5.0, -4.0, 4.0, -5.0], [-3.0, 4.0, 3.0, -4.0], [3.0, -2.0, 2.0, 3.0]]))
    return TRUTH.replace(
        identity=torch.zeros_like(TRUTH.identity),
        albedo=torch.zeros_like(TRUTH.albedo),
        rotation=matrix_to_rotation_6d(turn @ rotation_6d_to_matrix(TRUTH.rotation)),
        light=studio_light(COUNT),
    )


START = started()


def colours(found: FaceParameters, images: Tensor = FACES.images) -> Tensor:
    """Mean difference of colours where the true head is."""
    apart = (as_seen(draw(MODEL, found, SIZE, SIZE).image, torch.zeros(COUNT, dtype=torch.bool)) - images).abs()
    return (apart.mean(-1) * FACES.masks).sum((1, 2)) / FACES.masks.sum((1, 2))


def shape(found: FaceParameters) -> Tensor:
    return vertex_distances(MODEL, found, TRUTH)


@pytest.fixture(scope="module")
def refined() -> FaceParameters:
    with torch.no_grad():  # as systems call it
        return REFINER(FACES.images, START, STEPS, SIZE)


def test_shape_pose_and_colours_come_nearer(refined: FaceParameters) -> None:
    assert not refined.identity.requires_grad
    assert (colours(refined) < 0.5 * colours(START)).all()
    assert shape(refined).mean() < 0.75 * shape(START).mean()
    assert angle_errors(refined, TRUTH).mean() < 0.6 * angle_errors(START, TRUTH).mean()
    assert refined.expression.min() >= 0 and refined.expression.max() <= 1


def test_no_face_has_a_part_in_another(refined: FaceParameters) -> None:
    few = REFINER(FACES.images, START, 2, SIZE)
    alone = refine(MODEL, REFINER.layout, FACES.images[2:3], single(START, 2), steps=2, size=SIZE)
    for name, value in vars(alone).items():
        torch.testing.assert_close(value, getattr(few, name)[2:3], atol=1e-3, rtol=1e-3, msg=name)
    # Many steps let the rounding of matrix products grow.
    alone = REFINER(FACES.images[2:3], single(START, 2), STEPS, SIZE)
    moved = vertex_distances(MODEL, single(START, 2), alone)
    assert vertex_distances(MODEL, single(refined, 2), alone) < 0.5 * moved


def test_grey_pictures_are_compared_by_luminance() -> None:
    images = as_seen(FACES.images, torch.ones(COUNT, dtype=torch.bool))
    found = REFINER(images, START, STEPS, SIZE)
    drawn = [as_seen(draw(MODEL, each, SIZE, SIZE).image, torch.ones(COUNT).bool()) for each in (START, found)]
    before, after = (((each - images).abs().mean(-1) * FACES.masks).sum() for each in drawn)
    assert after < 0.5 * before
    assert shape(found).mean() < 0.9 * shape(START).mean()


def test_what_hides_a_part_of_a_face_does_not_shape_it() -> None:
    images = FACES.images.clone()
    images[:, SIZE // 2 :, : SIZE // 2] = 0.5
    found = REFINER(images, START, STEPS, SIZE)
    assert shape(found).mean() < shape(START).mean()
    assert (shape(found) < 1.3 * shape(START)).all()


def test_faces_that_cannot_be_bettered_stay() -> None:
    exact = RenderedFaces(MODEL, 96, 11).batch(range(1))
    assert REFINER(exact.images, exact.parameters, 0).identity.equal(exact.parameters.identity)
    black = torch.zeros(1, 32, 32, 3)
    found = REFINER(black, single(START, 0), 5, 32).check()  # nothing to be lit by
    assert found.identity.shape == (1, len(MODEL.identity_names))
    # A head outside the picture has nothing to compare.
    away = single(START, 1).replace(translation=torch.tensor([[500.0, 0.0, -60.0]]))
    REFINER(FACES.images[1:2], away, 3, 32).check()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": -1}, "refine: -1 steps"),
        ({"size": 8}, "from 16 to 512"),
        ({"images": FACES.images[:2]}, "must be .4, side, side, 3."),
        ({"images": FACES.images * torch.nan}, "finite"),
        ({"images": (FACES.images * 255).byte()}, "uint8"),
        ({"parameters": START.replace(light=START.light * torch.inf)}, "light holds values that are not finite"),
    ],
)
def test_bad_input_is_one_sentence(change: dict, sentence: str) -> None:
    given = {"images": FACES.images, "parameters": START, "steps": 2, "size": SIZE, **change}
    with pytest.raises(InputError, match=sentence):
        REFINER(**given)
