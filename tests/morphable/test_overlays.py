"""Heads beside their photos: the right picture in every column, and what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.morphable import (
    OVERLAY_COLUMNS,
    FaceParameters,
    load_morphable_model,
    named_parameters,
    overlay_strip,
    without_pose,
)

MODEL = load_morphable_model("synthetic")
PHOTO = np.full((40, 40, 3), (0, 200, 0), dtype=np.uint8)


def cells(strip: np.ndarray) -> list[np.ndarray]:
    return np.split(strip.astype(int), len(OVERLAY_COLUMNS), axis=1)


def test_every_column_shows_what_it_is_named_for() -> None:
    shown, over, head, left, right = cells(overlay_strip(MODEL, FaceParameters.neutral(MODEL), PHOTO, 48))
    assert np.abs(shown - (0, 200, 0)).max() <= 1, "the photo alone"
    assert np.abs(over[0] - (0, 200, 0)).max() <= 1, "the photo shows beside the head"
    assert over[24, 24, 0] > 60 and over[24, 24, 1] > 60, "and through it"
    assert head[0, 0].min() > 220 and head[24, 24].max() < 220, "a head before a plain wall"
    assert np.abs(left - right[:, ::-1]).mean() < 12, "turned by as much to either side"
    assert np.abs(left - head).mean() > 5


def test_the_head_is_where_the_parameters_place_it() -> None:
    centre = FaceParameters.neutral(MODEL)
    aside = centre.replace(translation=centre.translation + torch.tensor([[8.0, 0.0, 0.0]]))
    columns = []
    for parameters in (centre, aside):
        over = cells(overlay_strip(MODEL, parameters, PHOTO, 48))[1]
        columns.append(np.flatnonzero((over[..., 0] > 60).any(0)).mean())
    assert columns[1] > columns[0] + 5, "to the right"


def test_without_pose_keeps_shape_and_colours_alone() -> None:
    turned = named_parameters(MODEL, expression={"jawOpen": 0.5}, albedo={"skinLightness": 1}, pose={"yaw": 30})
    dark = turned.replace(light=turned.light * 0.1)
    plain, neutral = without_pose(MODEL, dark), FaceParameters.neutral(MODEL)
    assert torch.equal(plain.expression, turned.expression) and torch.equal(plain.albedo, turned.albedo)
    assert torch.equal(plain.rotation, neutral.rotation) and torch.equal(plain.light, neutral.light)


def test_what_cannot_be_drawn_is_one_sentence() -> None:
    neutral = FaceParameters.neutral(MODEL)
    with pytest.raises(InputError, match="must be a square"):
        overlay_strip(MODEL, neutral, PHOTO[:20])
    with pytest.raises(InputError, match="albedo holds values that are not finite"):
        overlay_strip(MODEL, neutral.replace(albedo=neutral.albedo + torch.nan), PHOTO)
