"""Frozen features: pooled over the right areas, kept small, and refused where they are not what the encoder says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gptface.errors import InputError
from gptface.evaluation.encoder_features import TOKEN_BYTES, encode_faces, pool_patches, token_grid


class Colours:
    """Mean colour of each of 8 × 8 patches, and that of the picture."""

    image_size, grid, width = 16, (8, 8), 3

    def forward_features(self, images: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(images, 2).flatten(2).mT

    def forward_named_features(self, images: Tensor) -> dict[str, Tensor]:
        return {"last layer": self.forward_features(images), "whole": images.mean((2, 3))}


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)


def test_summaries_and_tokens_are_means_over_areas() -> None:
    seen: list[int] = []
    found = encode_faces(Colours(), IMAGES, (2, 2), batch_size=2, advance=seen.append)
    exact = IMAGES.astype(np.float64) / 127.5 - 1

    def areas(side: int) -> np.ndarray:
        cut = exact.reshape(5, 3, side, 16 // side, side, 16 // side).mean((3, 5))
        return cut.transpose(0, 2, 3, 1).reshape(5, side * side, 3)

    assert set(found.summaries) == {"last layer, mean", "last layer, 4 × 4", "whole"} and seen == [2, 4, 5]
    np.testing.assert_allclose(found.summaries["last layer, mean"], areas(1)[:, 0], atol=1e-5)
    np.testing.assert_allclose(found.summaries["whole"], areas(1)[:, 0], atol=1e-5)
    np.testing.assert_allclose(found.summaries["last layer, 4 × 4"], areas(4).reshape(5, -1), atol=1e-5)
    assert found.tokens.dtype == np.float16 and found.grid == (2, 2)
    np.testing.assert_allclose(found.tokens, areas(2), atol=1e-3)


def test_larger_and_grey_pictures_are_brought_to_what_the_encoder_takes() -> None:
    grey = IMAGES[:, :1].repeat(2, axis=2).repeat(2, axis=3)
    found = encode_faces(Colours(), grey, (8, 8))
    expected = np.broadcast_to(IMAGES[:, :1].mean((2, 3)) / 127.5 - 1, (5, 3))
    np.testing.assert_allclose(found.summaries["whole"], expected, atol=0.02)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 2000), st.integers(1, 10**6))
def test_tokens_are_kept_within_memory_and_areas_divide_the_grid_where_they_can(
    rows: int, columns: int, width: int, faces: int
) -> None:
    kept = token_grid((rows, columns), width, faces)
    assert kept == (1, 1) or 2 * faces * kept[0] * kept[1] * width <= TOKEN_BYTES
    for side, own in zip((rows, columns), kept, strict=True):
        assert 1 <= own <= min(8, side)


@pytest.mark.parametrize(("side", "kept"), [(6, 6), (8, 8), (10, 5), (12, 6), (14, 7), (16, 8), (13, 8), (24, 8)])
def test_usual_grids(side: int, kept: int) -> None:
    assert token_grid((side, side), 192, 10_000) == (kept, kept)


def test_a_grid_as_large_as_asked_for_is_left_alone() -> None:
    patches = torch.randn(2, 6, 4)
    assert pool_patches(patches, (2, 3), (2, 3)) is patches
    torch.testing.assert_close(pool_patches(patches, (2, 3), (1, 1))[:, 0], patches.mean(1))


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (lambda images: torch.full((len(images), 64, 3), float("nan")), "not finite"),
        (lambda images: torch.zeros(len(images), 65, 3), r"shape \(5, 65, 3\), but a grid of 8 × 8 patches"),
        (lambda images: torch.zeros(len(images), 3), r"shape \(5, 3\)"),
    ],
)
def test_features_that_are_not_what_the_encoder_says_are_refused(features: Any, sentence: str) -> None:
    encoder = Colours()
    encoder.forward_named_features = lambda images: {"last layer": features(images)}  # type: ignore[method-assign]
    with pytest.raises(InputError, match=sentence):
        encode_faces(encoder, IMAGES, (8, 8))
