"""Features that nobody has to learn."""

from __future__ import annotations

import numpy as np

from gptface.evaluation.features import pixel_features


def test_pixel_features_are_means_of_grey_blocks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    found = pixel_features(images, 4)
    expected = (images.mean(-1) / 255).reshape(3, 4, 2, 4, 2).mean((2, 4)).reshape(3, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
