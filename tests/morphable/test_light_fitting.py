"""Light fitted to pictures in closed form."""

from __future__ import annotations

import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import (
    FaceParameters,
    ambient_light,
    directional_light,
    draw,
    fit_light,
    load_morphable_model,
)


def test_the_light_of_a_drawn_head_is_found_and_draws_the_same_picture() -> None:
    head = load_morphable_model("synthetic", smooth_modes=0)
    lamp = directional_light(torch.tensor([[0.7, 0.4, 0.6], [-0.8, 0.1, 0.5]]), torch.tensor([[0.6, 0.5, 0.4]]))
    given = FaceParameters.neutral(head, 2).replace(light=ambient_light(0.3, 2) + lamp)
    picture = draw(head, given, 48, 48)
    fit = fit_light(head, given.replace(light=FaceParameters.neutral(head, 2).light), picture.image)
    again = draw(head, fit, 48, 48)
    covered = picture.mask > 0
    before = (draw(head, FaceParameters.neutral(head, 2), 48, 48).image - picture.image).abs()[covered].mean()
    after = (again.image - picture.image).abs()[covered].mean()
    assert after < 0.02 < 0.1 < before
    # Pixels that are said not to count may show anything.
    inside = torch.zeros(2, 48, 48, dtype=torch.bool)
    inside[:, :, :24] = True
    painted = torch.where(inside[..., None], picture.image, torch.tensor(0.9))
    half = fit_light(head, given, painted, inside=inside)
    torch.testing.assert_close(half.light, fit_light(head, given, picture.image, inside=inside).light)
    with pytest.raises(InputError, match=r"heads, height, width, 3"):
        fit_light(head, given, picture.image[0])
    with pytest.raises(InputError, match="inside"):
        fit_light(head, given, picture.image, inside=inside[:1])
