"""Folders of saved models as encoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from gptface.errors import InputError
from gptface.evaluation.encoders import named_features, saved_model_kind
from gptface.models.loading import StrictPreTrainedModel


class PatchConfig(PretrainedConfig):
    model_type = "patches_for_a_test"

    def __init__(self, width: int = 6, **more: object) -> None:
        super().__init__(**more)
        self.width = width


class PatchModel(StrictPreTrainedModel):
    """One strided convolution: 8² pictures, 2 × 2 patches."""

    config_class = PatchConfig

    def __init__(self, config: PatchConfig) -> None:
        super().__init__(config)
        self.image_size, self.grid, self.width = 8, (2, 2), config.width
        self.embed = nn.Conv2d(3, config.width, 4, stride=4)
        self.post_init()

    def forward_features(self, images: Tensor) -> Tensor:
        return self.embed(images).flatten(2).mT


KIND = saved_model_kind(PatchModel, "patches")


def test_a_saved_model_is_recognised_opened_and_begun_afresh(tmp_path: Path) -> None:
    model = PatchModel(PatchConfig(5))
    model.save_pretrained(tmp_path / "model")
    images = torch.rand(2, 3, 8, 8)
    assert KIND.recognises(tmp_path / "model")
    opened = KIND.open(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(opened.forward_features(images), model.forward_features(images))
        assert torch.equal(named_features(opened, images)["last layer"], model.forward_features(images))
        fresh = [KIND.initialise(tmp_path / "model", seed).forward_features(images) for seed in (1, 1, 2)]
    assert fresh[0].shape == (2, 4, 5) and torch.equal(fresh[0], fresh[1]) and not torch.equal(fresh[0], fresh[2])


@pytest.mark.parametrize("content", [None, "{", "[]", json.dumps({"model_type": "another"})])
def test_other_folders_are_not_recognised(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert not KIND.recognises(tmp_path)


def test_a_model_without_its_weights_is_one_sentence(tmp_path: Path) -> None:
    PatchConfig().save_pretrained(tmp_path)
    assert KIND.recognises(tmp_path)
    with pytest.raises(InputError, match="cannot be loaded as a PatchModel"):
        KIND.open(tmp_path)
