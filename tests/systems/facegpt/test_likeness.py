"""Likeness tells the photo a head is in from photos it is not in, whatever the light."""

from __future__ import annotations

import pytest
import torch

from gptface.morphable import FaceParameters, directional_light, draw, load_morphable_model, named_parameters
from gptface.systems.facegpt.likeness import face_likeness

MODEL = load_morphable_model("synthetic")


def photo(parameters: FaceParameters, size: int = 96) -> torch.Tensor:
    return draw(MODEL, parameters, size, size, background=torch.full((size, size, 3), 0.4)).image.permute(0, 3, 1, 2)


def test_a_head_is_like_its_own_photo_in_any_light_and_size() -> None:
    head = named_parameters(MODEL, identity={"noseWidth": 1}, pose={"yaw": 15})
    assert float(face_likeness(MODEL, head, photo(head, 64))) > 0.99
    darker = head.replace(light=head.light * 0.5)
    assert float(face_likeness(MODEL, darker, photo(head, 200))) > 0.8
    aside = directional_light(torch.tensor([[1.0, 0.2, 1.0]]), torch.tensor([[0.6, 0.6, 0.6]]))
    lit = head.replace(light=head.light + aside)
    assert float(face_likeness(MODEL, head, photo(lit))) > 0.6


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_falling_light_are_like_no_head(seed: int) -> None:
    head = FaceParameters.neutral(MODEL)
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    assert abs(float(face_likeness(MODEL, head, noise))) < 0.15
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64) ** (1 + 4 * seed)
    for picture in (ramp, ramp.transpose(2, 3)):
        assert abs(float(face_likeness(MODEL, head, picture))) < 0.15


def test_blank_photos_and_heads_out_of_sight_have_none() -> None:
    head = FaceParameters.neutral(MODEL, 2)
    assert face_likeness(MODEL, head, torch.full((2, 3, 64, 64), 0.5)).tolist() == [0, 0]
    away = head.replace(translation=head.translation + torch.tensor([500.0, 0, 0]))
    assert face_likeness(MODEL, away, torch.rand(2, 3, 64, 64)).tolist() == [0, 0]


def test_a_head_elsewhere_is_less_like_the_photo() -> None:
    head = FaceParameters.neutral(MODEL)
    moved = head.replace(translation=head.translation + torch.tensor([[3.0, 4.0, 0]]))
    assert float(face_likeness(MODEL, moved, photo(head))) < 0.5
    beside = head.replace(translation=head.translation + torch.tensor([[0.8, -0.8, 0]]))
    assert float(face_likeness(MODEL, beside, photo(head))) > 0.7, "a little off"
