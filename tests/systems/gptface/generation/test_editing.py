from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.data.pixels import tensor_to_images
from gptface.errors import InputError
from gptface.systems.gptface.generation.editing import (
    Frame,
    composite,
    even_out,
    feather,
    fill_hole,
    token_mask,
)


def noise_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(st.integers(3, 70), st.integers(3, 70), st.sampled_from([8, 32, 64]), st.integers(0, 6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_pixels_outside_the_mask_are_the_photos_own(
    height: int, width: int, size: int, feather_width: int, seed: int
) -> None:
    photo = noise_photo(height, width, seed)
    mask = np.random.default_rng(seed + 1).random((height, width)) < 0.4
    frame = Frame.of(photo, size)
    edited = composite(photo, frame.to_photo(torch.rand(3, size, size) * 2 - 1), mask, frame, feather_width)
    assert edited.dtype == np.uint8 and edited.shape == photo.shape
    kept = ~frame.window_mask(mask)
    assert np.array_equal(edited[kept], photo[kept])


def test_a_photo_of_the_models_size_survives_the_round_trip_exactly() -> None:
    photo = noise_photo(32, 32)
    frame = Frame.of(photo, 32)
    assert np.array_equal(tensor_to_images(frame.to_photo(frame.to_model(photo))), photo)


def test_frame_is_the_centred_square_or_the_window_asked_for() -> None:
    photo = noise_photo(40, 60)
    frame = Frame.of(photo, 8)
    assert (frame.left, frame.top, frame.side) == (10, 0, 40)
    assert Frame.of(photo, 8, (3, 4, 20)).rows == slice(4, 24)
    for window in ((50, 0, 20), (-1, 0, 5), (0, 0, 0)):
        with pytest.raises(InputError, match="window"):
            Frame.of(photo, 8, window)


def test_mask_reaches_the_model_if_any_pixel_is_marked() -> None:
    photo = noise_photo(64, 64)
    mask = np.zeros((64, 64), dtype=bool)
    mask[17, 40] = True
    small = Frame.of(photo, 16).mask_to_model(mask)
    assert small.sum() == 1 and small[4, 10]
    large = Frame.of(noise_photo(10, 10), 16).mask_to_model(np.eye(10, dtype=bool))
    assert all(large[int((i + 0.5) * 1.6), int((i + 0.5) * 1.6)] for i in range(10))


@given(st.integers(0, 15), st.integers(0, 15), st.integers(1, 9), st.integers(1, 9))
def test_token_mask_takes_every_token_it_touches(top: int, left: int, height: int, width: int) -> None:
    pixels = torch.zeros(1, 16, 16, dtype=torch.bool)
    pixels[0, top : top + height, left : left + width] = True
    tokens = token_mask(pixels, (4, 4)).view(4, 4)
    for row in range(4):
        for column in range(4):
            patch = pixels[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert bool(tokens[row, column]) == bool(patch.any())


def test_dilation_renews_the_ring_of_neighbours() -> None:
    pixels = torch.zeros(1, 20, 20, dtype=torch.bool)
    pixels[0, 9, 9] = True
    assert token_mask(pixels, (5, 5), 1).view(5, 5)[1:4, 1:4].all() and token_mask(pixels, (5, 5), 1).sum() == 9
    with pytest.raises(InputError, match="grid"):
        token_mask(pixels, (3, 3))


def test_a_hole_is_filled_from_its_surroundings_alone() -> None:
    image = torch.full((1, 3, 32, 32), 0.25)
    image[:, :, 10:20, 12:22] = 17.0
    hole = torch.zeros(1, 32, 32, dtype=torch.bool)
    hole[:, 10:20, 12:22] = True
    torch.testing.assert_close(fill_hole(image, hole), torch.full_like(image, 0.25))
    ramp = torch.linspace(-1, 1, 31).expand(1, 1, 31, 31)
    filled = fill_hole(ramp.where(~hole[:, None, :31, :31], torch.tensor(5.0)), hole[:, :31, :31])
    assert (filled - ramp).abs().max() < 0.25
    assert torch.equal(fill_hole(image, torch.ones_like(hole)), torch.zeros_like(image))


def test_feathering_rises_inside_the_mask_and_not_at_the_pictures_border() -> None:
    mask = np.zeros((12, 12), dtype=bool)
    mask[:, 4:] = True
    opacity = feather(mask, 3)
    assert (opacity[:, :4] == 0).all()
    assert opacity[5, 4:8].tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert (opacity[:, 8:] == 1).all()
    assert np.array_equal(feather(mask, 0), mask.astype(np.float32))


def test_a_shade_the_tokenizer_gets_wrong_is_carried_into_the_edit() -> None:
    images = torch.rand(1, 3, 16, 16) * 0.5
    pictures = images - 0.3
    renewed = torch.zeros(1, 16, dtype=torch.bool)
    renewed[0, 5] = True
    torch.testing.assert_close(even_out(pictures, images, renewed, (4, 4)), images, atol=1e-5, rtol=0)
    everywhere = torch.ones(1, 16, dtype=torch.bool)
    torch.testing.assert_close(even_out(pictures, images, everywhere, (4, 4)), pictures)
