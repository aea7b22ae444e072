"""Losses of the tokenizer and of the parser, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.objectives import (
    adversarial_weight,
    discriminator_hinge_loss,
    generator_hinge_loss,
    gradient_loss,
    parsing_losses,
    psnr,
    reconstruction_losses,
)


def test_parts_and_total() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    parts = reconstruction_losses(first, second, l1=2.0, gradient=0.5)
    torch.testing.assert_close(parts["l1"], 2 * (first - second).abs().mean())
    torch.testing.assert_close(parts["gradient"], 0.5 * gradient_loss(first, second))
    torch.testing.assert_close(parts["total"], parts["l1"] + parts["gradient"])
    assert set(reconstruction_losses(first, second, l1=1.0, gradient=0.0)) == {"l1", "total"}


def test_gradient_loss_by_hand() -> None:
    """One white pixel, scale 1: two horizontal and two vertical differences of 1; scale 2: one block of 1/4."""
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 1] = 1.0
    nothing = torch.zeros_like(image)
    torch.testing.assert_close(gradient_loss(image, nothing, scales=(1,)), torch.tensor(2 / 12 + 2 / 12))
    torch.testing.assert_close(gradient_loss(image, nothing, scales=(2,)), torch.tensor(0.25 / 2 + 0.25 / 2))
    both = gradient_loss(image, nothing, scales=(1, 2))
    torch.testing.assert_close(both, torch.tensor((4 / 12 + 0.25) / 2))


def test_gradient_loss_ignores_brightness_and_sees_blur() -> None:
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(gradient_loss(image + 0.3, image), torch.tensor(0.0), atol=1e-6, rtol=0)
    blurred = functional.avg_pool2d(functional.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    assert gradient_loss(blurred, image) > 0.1


def test_importance_weighs_pixels() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    plain = reconstruction_losses(first, second)
    for name, value in reconstruction_losses(first, second, importance=torch.full((2, 1, 8, 8), 3.0)).items():
        torch.testing.assert_close(value, plain[name])
    left = torch.zeros(2, 1, 8, 8)
    left[..., :4] = 2.0
    parts = reconstruction_losses(first, second, importance=left)
    torch.testing.assert_close(parts["l1"], (first - second)[..., :4].abs().mean())
    changed = first.clone()
    changed[..., 5:] += 1.0  # beyond the difference that straddles the border
    torch.testing.assert_close(
        reconstruction_losses(changed, second, scales=(1,), importance=left)["total"],
        reconstruction_losses(first, second, scales=(1,), importance=left)["total"],
    )
    with pytest.raises(InputError, match=r"importance must have shape \(2, 1, 8, 8\)"):
        reconstruction_losses(first, second, importance=torch.ones(2, 8, 8))


def test_psnr() -> None:
    images = torch.zeros(2, 3, 4, 4)
    noisy = images.clone()
    noisy[1] += 0.2
    found = psnr(noisy, images)
    assert found.shape == (2,)
    assert float(found[1]) == pytest.approx(10 * math.log10(4 / 0.04), abs=1e-3)
    assert float(found[0]) > 90
    assert torch.equal(psnr(images + 5, images + 1), psnr(images + 1, images + 1))  # clamped to what can be shown


def test_hinge_losses() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0])
    torch.testing.assert_close(discriminator_hinge_loss(real, fake), torch.tensor(0.5 * 0.5 + 0.5 * 1.0))
    torch.testing.assert_close(generator_hinge_loss(fake), torch.tensor(1.0))


def test_adversarial_weight_balances_gradients() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    output = layer(torch.randn(3, 4))
    first, second = output.square().mean(), 1e-3 * output.abs().mean()
    weight = adversarial_weight(first, second, layer.weight)
    assert not weight.requires_grad
    norms = [torch.autograd.grad(loss, layer.weight, retain_graph=True)[0].norm() for loss in (first, weight * second)]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-2, atol=0)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="same shape"):
        reconstruction_losses(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 4, 4))


def test_parsing_losses_against_torch() -> None:
    torch.manual_seed(0)
    region_logits, regions = torch.randn(2, 4, 5, 5), torch.randint(0, 4, (2, 5, 5))
    attribute_logits, attributes = torch.randn(2, 3), torch.randint(0, 2, (2, 3))
    expression_logits, expressions = torch.randn(2, 6), torch.tensor([5, 1])
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    logits_and_labels = (region_logits, attribute_logits, expression_logits, regions, attributes, expressions)
    parts = parsing_losses(*logits_and_labels, region_weights=weights, attribute=2.0)
    torch.testing.assert_close(parts["region"], functional.cross_entropy(region_logits, regions, weight=weights))
    torch.testing.assert_close(
        parts["attribute"], 2 * functional.binary_cross_entropy_with_logits(attribute_logits, attributes.float())
    )
    torch.testing.assert_close(parts["expression"], functional.cross_entropy(expression_logits, expressions))
    torch.testing.assert_close(parts["total"], parts["region"] + parts["attribute"] + parts["expression"])


def test_unknown_labels_add_nothing() -> None:
    torch.manual_seed(0)
    logits = [
        torch.randn(2, 4, 3, 3, requires_grad=True),
        torch.randn(2, 3, requires_grad=True),
        torch.randn(2, 6, requires_grad=True),
    ]
    unknown = [torch.full((2, 3, 3), -1), torch.full((2, 3), -1), torch.full((2,), -1)]
    parts = parsing_losses(*logits, *unknown)
    parts["total"].backward()
    assert float(parts["total"].detach()) == 0
    assert all(tensor.grad is not None and not tensor.grad.any() for tensor in logits)
