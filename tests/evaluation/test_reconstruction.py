"""Quality of a tokenizer, against the same figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.data.pixels import images_to_tensor, tensor_to_images
from gptface.evaluation.reconstruction import measure_reconstruction
from gptface.models import FaceTokenizer, FaceTokenizerConfig


def test_figures_are_those_of_the_8_bit_pictures() -> None:
    torch.manual_seed(0)
    tokenizer = FaceTokenizer(FaceTokenizerConfig.tiny())
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    tokenizer(images_to_tensor(images))  # k-means, in training mode
    found = measure_reconstruction(tokenizer, images, batch_size=2)
    codes = tokenizer.encode(images_to_tensor(images))
    assert torch.equal(found.codes, codes)
    decoded = tensor_to_images(tokenizer.decode(codes))
    assert np.abs(found.reconstructions.astype(int) - decoded.astype(int)).max() <= 1  # rounding differs by batch
    error = np.square(found.reconstructions.astype(float) - images).mean((1, 2, 3))
    ratios = 10 * np.log10(255**2 / error)
    assert found.psnr == pytest.approx(ratios.mean(), abs=1e-4)
    assert found.psnr_low == pytest.approx(np.quantile(ratios, 0.1), abs=1e-4)
    counts = np.bincount(codes.flatten(), minlength=64)
    shares = counts[counts > 0] / counts.sum()
    assert found.usage == pytest.approx(len(shares) / 64)
    assert found.perplexity == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
