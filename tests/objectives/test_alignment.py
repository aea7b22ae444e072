"""Patch–pixel alignment, against loops over windows and codes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.objectives import alignment_loss, code_activations, normalised_patches


def by_definition(image: Tensor, patch_size: int, projection: Tensor, codebook: Tensor) -> Tensor:
    """(N, K) float64 of one picture (C, S, S)."""
    half, size = patch_size // 2, image.shape[-1]

    def activation(y: int, x: int) -> Tensor:
        window = image[:, y : y + patch_size, x : x + patch_size].flatten()
        place = normalised_patches(window).double() @ projection.double()
        distances = (place - codebook.double()).square().sum(1).sqrt()
        return (distances.mean() - distances).clamp_min(0)

    rows = []
    for top in range(0, size, patch_size):
        for left in range(0, size, patch_size):
            near = [(top + dy, left + dx) for dy in (-half, 0, half) for dx in (-half, 0, half)]
            inside = [(y, x) for y, x in near if min(y, x) >= 0 and max(y, x) + patch_size <= size]
            rows.append(torch.stack([activation(y, x) for y, x in inside]).mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize(("patch_size", "channels", "codes"), [(4, 1, 5), (6, 3, 1), (2, 3, 9)])
def test_activations_are_their_definition(patch_size: int, channels: int, codes: int) -> None:
    torch.manual_seed(patch_size)
    images = torch.rand(2, channels, 3 * patch_size, 3 * patch_size) * 2 - 1
    projection = torch.randn(channels * patch_size**2, 4) / patch_size
    codebook = torch.randn(codes, 4)
    wanted = torch.stack([by_definition(image, patch_size, projection, codebook) for image in images])
    found = code_activations(images, patch_size, projection, codebook)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


def test_odd_patches_are_refused() -> None:
    with pytest.raises(InputError, match=r"patch_size: 3; it must be even"):
        code_activations(torch.zeros(1, 1, 9, 9), 3, torch.zeros(9, 4), torch.zeros(2, 4))


def test_the_loss_is_of_standardised_activations() -> None:
    torch.manual_seed(0)
    predicted, activations = torch.randn(40, 3), torch.rand(40, 3) * torch.tensor([1.0, 5.0, 0.1])
    spread = activations.double().var(0, correction=0).sqrt()
    target = (activations.double() - activations.double().mean(0)) / spread
    wanted = (predicted.double() - target).square().mean()
    torch.testing.assert_close(alignment_loss(predicted, activations).double(), wanted, rtol=1e-4, atol=1e-5)
    twice = alignment_loss(predicted, activations, torch.tensor(80.0)).double()
    torch.testing.assert_close(twice, wanted / 2, rtol=1e-4, atol=1e-5)


def test_a_code_that_is_never_near_and_a_single_patch_give_numbers() -> None:
    predicted = torch.zeros(5, 2)
    assert alignment_loss(predicted, torch.zeros(5, 2)) == 0
    assert alignment_loss(predicted[:1], torch.rand(1, 2)).isfinite()


def test_padding_does_not_count_whatever_it_holds() -> None:
    torch.manual_seed(0)
    predicted, activations = torch.randn(9, 3), torch.rand(9, 3)
    usable = torch.arange(9) < 6
    found = alignment_loss(predicted, activations, usable=usable)
    torch.testing.assert_close(found, alignment_loss(predicted[:6], activations[:6]))
    other = torch.where(usable.unsqueeze(1), activations, 100.0)
    torch.testing.assert_close(alignment_loss(predicted, other, usable=usable), found)


@pytest.mark.parametrize("batch", [0, 1, 2, 5])
def test_pictures_of_a_batch_have_the_activations_they_have_alone(batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 1, 16, 16, generator=generator) * 2 - 1
    projection, codebook = torch.randn(64, 6, generator=generator), torch.randn(9, 6, generator=generator)
    together = code_activations(images, 8, projection, codebook)
    assert together.shape == (batch, 4, 9)
    for number in range(batch):
        alone = code_activations(images[number : number + 1], 8, projection, codebook)
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-5, rtol=0)
