"""Patches: nothing is lost on the way there and back, embeddings are a strided convolution, places are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.models.configuration import ModelConfig
from gptface.models.loading import StrictPreTrainedModel
from gptface.models.patches import (
    FactorisedPositions,
    PatchEmbedding,
    SineCosinePositions,
    patch_grid,
    patchify,
    sine_cosine_positions,
    unpatchify,
)

sizes = st.integers(1, 5)


def numbered(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Every element another number, as far as the dtype has them."""
    return torch.arange(torch.Size(shape).numel()).view(shape).to(dtype)


@settings(deadline=None)
@given(
    batch=st.integers(0, 3), channels=sizes, rows=sizes, columns=sizes, side=sizes,
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool]),
    channels_last=st.booleans(),
)  # fmt: skip
def test_cutting_and_joining_loses_nothing(
    batch: int, channels: int, rows: int, columns: int, side: int, dtype: torch.dtype, channels_last: bool
) -> None:
    images = numbered(batch, channels, rows * side, columns * side, dtype=dtype)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    patches = patchify(images, side)
    assert patch_grid(*images.shape[2:], side) == (rows, columns)
    assert patches.shape == (batch, rows * columns, channels * side**2) and patches.dtype == dtype
    assert torch.equal(unpatchify(patches, side, (rows, columns)), images)
    again = numbered(*patches.shape, dtype=dtype)
    assert torch.equal(patchify(unpatchify(again, side, (rows, columns)), side), again)


@settings(deadline=None)
@given(channels=sizes, rows=sizes, columns=sizes, side=sizes, data=st.data())
def test_every_pixel_is_where_the_order_says(
    channels: int, rows: int, columns: int, side: int, data: st.DataObject
) -> None:
    images = numbered(2, channels, rows * side, columns * side)
    channel, row, column, y, x = (data.draw(st.integers(0, size - 1)) for size in (channels, rows, columns, side, side))
    found = patchify(images, side)[1, row * columns + column, (channel * side + y) * side + x]
    assert found == images[1, channel, row * side + y, column * side + x]


@settings(deadline=None)
@given(rows=sizes, columns=sizes, side=sizes)
def test_an_embedding_is_a_strided_convolution(rows: int, columns: int, side: int) -> None:
    torch.manual_seed(0)
    embedding = PatchEmbedding(side, 7)
    images = torch.randn(2, 3, rows * side, columns * side)
    weight = embedding.projection.weight.view(7, 3, side, side)
    maps = functional.conv2d(images, weight, embedding.projection.bias, stride=side)
    torch.testing.assert_close(embedding(images), maps.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_gradients_reach_pixels_and_positions() -> None:
    embedding, positions = PatchEmbedding(4, 8, channels=1), FactorisedPositions((2, 3), 8)
    images = torch.randn(2, 1, 8, 12, requires_grad=True)
    (embedding(images) + positions()).square().sum().backward()
    for part in (images, *embedding.parameters(), *positions.parameters()):
        assert part.grad is not None and bool((part.grad != 0).any(-1).all())


@given(rows=sizes, columns=sizes, data=st.data())
def test_factorised_positions_are_a_vector_of_the_row_plus_one_of_the_column(
    rows: int, columns: int, data: st.DataObject
) -> None:
    positions = FactorisedPositions((rows, columns), 6)
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    table = positions()
    assert table.shape == (rows * columns, 6)
    expected = positions.rows.weight[row] + positions.columns.weight[column]
    assert torch.equal(table[row * columns + column], expected)


@pytest.mark.parametrize(("grid", "width"), [((3, 5), 16), ((14, 14), 768), ((1, 1), 4)])
def test_sines_and_cosines_are_those_of_masked_autoencoders(grid: tuple[int, int], width: int) -> None:
    """Against the formula of the published code, written out: coordinate x fills the first half, y the second."""
    ys, xs = np.mgrid[0 : grid[0], 0 : grid[1]]
    omega = 1.0 / 10000 ** (np.arange(width // 4) / (width / 4))
    parts = [wave(np.einsum("m,d->md", places.ravel(), omega)) for places in (xs, ys) for wave in (np.sin, np.cos)]
    found = sine_cosine_positions(grid, width)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), np.concatenate(parts, axis=1), rtol=0, atol=1e-6)


@given(rows=st.integers(1, 16), columns=st.integers(1, 16))
def test_no_two_places_look_alike(rows: int, columns: int) -> None:
    table = sine_cosine_positions((rows, columns), 32).double()
    distances = torch.cdist(table, table) + torch.eye(len(table)) * 10
    assert float(distances.min()) > 0.5
    torch.testing.assert_close(table.norm(dim=1), torch.full_like(table[:, 0], 4.0), atol=1e-5, rtol=0)


class _Config(ModelConfig):
    model_type = "patches_of_a_test"


class _Model(StrictPreTrainedModel):
    config_class = _Config
    base_model_prefix = ""

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        self.embedding = PatchEmbedding(4, 8)
        self.fixed = SineCosinePositions((2, 2), 8)
        self.learned = FactorisedPositions((2, 2), 8)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        pass

    def forward(self, images: Tensor) -> Tensor:
        return self.embedding(images) + self.fixed() + self.learned()


def test_a_saved_model_comes_back_with_its_fixed_positions(tmp_path: Path) -> None:
    model, images = _Model(_Config()), torch.randn(1, 3, 8, 8)
    assert not [name for name, _ in model.named_parameters() if name.startswith("fixed")]
    model.save_pretrained(tmp_path)
    loaded = _Model.from_pretrained(tmp_path)
    assert torch.equal(loaded.fixed(), sine_cosine_positions((2, 2), 8))
    assert torch.equal(loaded(images), model(images))


def test_it_compiles_in_one_graph() -> None:
    embedding, positions = PatchEmbedding(4, 8), SineCosinePositions((2, 3), 8)
    images = torch.randn(2, 3, 8, 12)

    def embed(images: Tensor) -> Tensor:
        return unpatchify(embedding(images) + positions(), 2, (2, 3))

    compiled = torch.compile(embed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), embed(images))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patch_grid(8, 9, 4), "positive multiples of patch_size 4, got 8 and 9"),
        (lambda: patch_grid(0, 8, 4), "positive multiples of patch_size 4, got 0 and 8"),
        (lambda: patch_grid(8, 8, 0), "patch_size must be at least 1, got 0"),
        (lambda: patchify(torch.zeros(3, 8, 8), 4), r"images must have shape \(B, C, H, W\), got \(3, 8, 8\)"),
        (lambda: patchify(torch.zeros(1, 3, 8, 6), 4), "got 8 and 6"),
        (lambda: patchify(torch.zeros(1, 3, 0, 8), 4), "got 0 and 8"),
        (lambda: unpatchify(torch.zeros(1, 5, 12), 2, (2, 2)), r"must have shape \(B, 4, C \* 4\).*\(1, 5, 12\)"),
        (lambda: unpatchify(torch.zeros(1, 4, 10), 2, (2, 2)), r"got \(1, 4, 10\)"),
        (lambda: unpatchify(torch.zeros(1, 4, 0), 2, (2, 2)), r"got \(1, 4, 0\)"),
        (lambda: unpatchify(torch.zeros(4, 12), 2, (2, 2)), r"got \(4, 12\)"),
        (lambda: unpatchify(torch.zeros(1, 4, 12), 0, (2, 2)), "at least 1, got 0"),
        (lambda: unpatchify(torch.zeros(1, 4, 12), 2, (4, 0)), "4 × 0"),
        (lambda: PatchEmbedding(0, 8), "patch_size must be at least 1, got 0"),
        (lambda: PatchEmbedding(4, 0), "width must be at least 1, got 0"),
        (lambda: PatchEmbedding(4, 8, channels=0), "channels must be at least 1, got 0"),
        (lambda: PatchEmbedding(4, 8)(torch.zeros(1, 1, 8, 8)), r"must have shape \(B, 3, H, W\), got \(1, 1, 8, 8\)"),
        (lambda: FactorisedPositions((0, 2), 8), r"got \(0, 2\) and 8"),
        (lambda: FactorisedPositions((2, 2), 0), r"got \(2, 2\) and 0"),
        (lambda: SineCosinePositions((2, 2), 6), "width must be a multiple of 4 .* got 6"),
        (lambda: sine_cosine_positions((2, 0), 8), r"got \(2, 0\) and 8"),
    ],
)  # fmt: skip
def test_bad_sizes_are_one_sentence(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
