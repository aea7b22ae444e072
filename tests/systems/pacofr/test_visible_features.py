"""Features of some of a picture's patches."""

from __future__ import annotations

import torch

from gptface.evaluation.encoders import VisibleFeatures
from gptface.systems.pacofr.configuration_model import PaCoFRConfig
from gptface.systems.pacofr.encoder import PaCoFREncoder


def test_visible_patches_keep_their_positions_and_see_each_other_alone() -> None:
    torch.manual_seed(0)
    encoder = PaCoFREncoder(PaCoFRConfig.tiny().encoder()).eval()
    assert isinstance(encoder, VisibleFeatures)
    pictures = torch.rand(3, 3, 32, 32) * 2 - 1
    order = torch.rand(3, 16).argsort(1)
    whole = encoder.forward_features(pictures)
    expected = whole.gather(1, order.unsqueeze(2).expand(-1, -1, encoder.width))
    torch.testing.assert_close(encoder.forward_visible(pictures, order), expected, rtol=1e-4, atol=1e-5)

    some = order[:, :5]
    kept = torch.zeros(3, 16, dtype=torch.bool).scatter(1, some, True)
    hidden = ~kept.view(3, 1, 4, 1, 4, 1).expand(-1, 3, -1, 8, -1, 8).reshape(3, 3, 32, 32)
    changed = torch.where(hidden, torch.rand(3, 3, 32, 32), pictures)
    found = encoder.forward_visible(pictures, some)
    torch.testing.assert_close(encoder.forward_visible(changed, some), found)
    assert (found - expected[:, :5]).abs().max() > 1e-3
