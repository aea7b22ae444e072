"""What probes read off a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gptface.data.pixels import images_to_tensor
from gptface.systems.gptface import Regime, build_sequence
from gptface.systems.gptface.evaluation.features import transformer_features
from tests.systems.gptface.generation.systems import tiny_system


@pytest.mark.parametrize("alignment_size", [0, 24])
def test_features_are_layers_means_and_the_towers_summary(alignment_size: int) -> None:
    system = tiny_system(alignment_size=alignment_size)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    found = transformer_features(system.tokenizer, system.model, images, layers=(0, -1), batch_size=2)
    assert set(found) == {"layer 0", "layer -1"} | ({"alignment"} if alignment_size else set())
    assert all(values.shape == (5, 32) and values.dtype == np.float32 for values in found.values())
    codes = system.tokenizer.encode(images_to_tensor(images))
    sequence = build_sequence(
        system.model.vocabulary, torch.zeros(5, 0, dtype=torch.int64), [0] * 5, codes, Regime.MASKED
    )
    with torch.no_grad():
        last = system.model.layer_states(sequence)[-1]
    expected = last[torch.arange(5).unsqueeze(1), sequence.image_slots].mean(1)
    np.testing.assert_allclose(found["layer -1"], expected.numpy(), rtol=1e-4, atol=1e-5)
    if alignment_size:
        np.testing.assert_allclose(np.linalg.norm(found["alignment"], axis=1), 1.0, rtol=1e-5)
