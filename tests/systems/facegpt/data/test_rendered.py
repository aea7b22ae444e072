"""Drawn faces are those of their number, whatever else is drawn, and what they say of themselves is true."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gptface.errors import InputError
from gptface.morphable import MorphableModel, load_morphable_model, matrix_to_angles, rotation_6d_to_matrix
from gptface.systems.facegpt.data.backgrounds import NoiseBackgrounds, PhotoBackgrounds, uniform_rows
from gptface.systems.facegpt.data.rendered import RenderedFaces


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_morphable_model("synthetic")


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5), st.integers(0, 2**63 - 1))
def test_parameters_are_a_function_of_seed_and_number(model: MorphableModel, numbers: list[int], seed: int) -> None:
    faces = RenderedFaces(model, seed=seed)
    together = faces.parameters(numbers)
    for row, number in enumerate(numbers):
        alone = faces.parameters([number])
        for field in dataclasses.fields(alone):
            torch.testing.assert_close(
                getattr(together, field.name)[row], getattr(alone, field.name)[0], rtol=0, atol=2e-6
            )
    assert (together.expression >= 0).all() and (together.expression <= 1).all()
    together.check()


def test_another_seed_is_another_collection(model: MorphableModel) -> None:
    one, other = (RenderedFaces(model, seed=seed).parameters(range(8)) for seed in (0, 1))
    distances = (one.identity[:, None] - other.identity[None]).norm(dim=-1)
    assert distances.min() > 3
    assert not torch.equal(one.light, other.light)


def test_the_same_batch_is_the_same_bits_and_another_the_same_pictures(model: MorphableModel) -> None:
    faces = RenderedFaces(model, size=32, seed=3, grey=0.5, noise=0.02)
    batch = faces.batch([4, 9, 2])
    again = faces.batch([4, 9, 2])
    assert torch.equal(batch.images, again.images)
    alone = faces.batch([9])
    different = (batch.images[1] - alone.images[0]).abs().amax(-1) > 2 / 255
    assert different.float().mean() < 0.01  # a pixel at an outline may fall to the other side


def test_a_picture_shows_its_parameters(model: MorphableModel) -> None:
    faces = RenderedFaces(model, size=48, yaw=25, pitch=10, roll=5)
    batch = faces.batch(range(40))
    turned = torch.stack(matrix_to_angles(rotation_6d_to_matrix(batch.parameters.rotation)), 1)
    torch.testing.assert_close(turned, batch.angles, rtol=0, atol=1e-3)
    assert (batch.angles.abs() <= torch.tensor([25.0, 10.0, 5.0])).all() and batch.angles[:, 0].std() > 8
    assert batch.images.shape == (40, 48, 48, 3) and batch.masks.shape == (40, 48, 48)
    assert batch.images.min() >= 0 and batch.images.max() <= 1
    assert 0.15 < batch.masks.float().mean() < 0.8
    # The tip of the nose lies on the head.
    tips = batch.landmarks[:, 30].floor().long()
    assert batch.masks[torch.arange(40), tips[:, 1], tips[:, 0]].float().mean() > 0.97
    assert len(batch) == 40


def test_expressions_are_at_rest_simple_or_mixed_and_within_their_range(model: MorphableModel) -> None:
    faces = RenderedFaces(model)
    drawn = [faces.expression(number) for number in range(400)]
    at_rest = sum(not weights for weights in drawn)
    assert 30 < at_rest < 120
    assert all(0 < weight <= 1 for weights in drawn for weight in weights.values())
    seen = {shape for weights in drawn for shape in weights}
    assert len(seen) > 0.9 * len(model.expression_names)
    for one, other in (("mouthLeft", "mouthRight"), ("eyeLookUp_L", "eyeLookDown_L"), ("jawLeft", "jawRight")):
        assert not any(one in weights and other in weights for weights in drawn)


def test_weights_are_normally_distributed(model: MorphableModel) -> None:
    weights = RenderedFaces(model).parameters(range(300)).identity
    assert abs(float(weights.mean())) < 0.05 and abs(float(weights.std()) - 1) < 0.03
    assert 2.5 < float(weights.abs().max()) < 6


def test_a_gaussian_model_has_gaussian_expressions() -> None:
    points = torch.rand(30, 3) * 10
    model = MorphableModel(
        points,
        torch.arange(30).view(10, 3),
        identity_basis=torch.randn(4, 30, 3),
        expression_basis=torch.randn(6, 30, 3),
        expression_kind="gaussian",
    )
    batch = RenderedFaces(model, size=16).batch(range(50))
    assert batch.parameters.expression.min() < -1 and batch.landmarks.shape == (50, 0, 2)


def test_grey_pictures_have_no_colour(model: MorphableModel) -> None:
    images = RenderedFaces(model, size=16, grey=1.0).batch(range(3)).images
    assert (images.amax(-1) - images.amin(-1)).max() < 1e-6


def test_streams_and_numbers_do_not_overlap() -> None:
    rows = np.concatenate([uniform_rows(5, [1, 2, 3], 100, stream) for stream in (1, 2)])
    assert len(np.unique(rows)) == rows.size and rows.min() > 0 and rows.max() < 1
    assert np.array_equal(uniform_rows(5, [2], 7, 1)[0], uniform_rows(5, [1, 2], 50, 1)[1, :7])


def test_noise_backgrounds_differ_and_stay_in_range() -> None:
    pictures = NoiseBackgrounds().pictures(0, range(6), 24)
    assert pictures.shape == (6, 24, 24, 3) and pictures.min() >= 0 and pictures.max() <= 1
    assert (pictures[0] - pictures[1]).abs().max() > 0.05
    assert torch.equal(pictures[2:4], NoiseBackgrounds().pictures(0, [2, 3], 24))


def test_photo_backgrounds_come_from_the_borders(tmp_path: Path) -> None:
    for index in range(4):
        photo = np.full((64, 64, 3), 40 * index + 20, np.uint8)
        photo[:, 16:48] = [255, 0, 0]  # the face
        Image.fromarray(photo).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text("a face")
    backgrounds = PhotoBackgrounds.of_files([str(tmp_path)])
    assert len(backgrounds) == 4
    pictures = backgrounds.pictures(0, range(20), 32)
    assert pictures.shape == (20, 32, 32, 3)
    assert (pictures.amax(-1) - pictures.amin(-1)).max() < 0.01  # no red
    assert len({round(float(picture.mean()), 2) for picture in pictures}) > 4


@pytest.mark.parametrize(
    "wrong", [{"size": 4}, {"seed": -1}, {"yaw": 100.0}, {"yaw": float("nan")}, {"grey": 2.0}, {"zoom": 0.0}]
)
def test_bad_arguments_are_named(model: MorphableModel, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        RenderedFaces(model, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [[], [-1], [2**63]])
def test_bad_numbers_are_refused(model: MorphableModel, numbers: list[int]) -> None:
    with pytest.raises(InputError, match="numbers"):
        RenderedFaces(model, size=16).batch(numbers)


def test_photos_too_small_or_absent_are_refused() -> None:
    with pytest.raises(InputError, match="no photo"):
        PhotoBackgrounds([])
    with pytest.raises(InputError, match="at least 8"):
        PhotoBackgrounds([np.zeros((4, 20, 3), np.uint8)])
