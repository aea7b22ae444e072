"""The classifier on an encoder: begins as a plain mean that knows nothing, and comes back from its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from gptface.errors import InputError
from gptface.evaluation.classifier import AttentivePool, PatchClassifier, load_classifier, save_classifier
from tests.helpers.tiny_encoder import TinyEncoder


def test_pooling_begins_as_the_mean_and_can_look_at_one_patch() -> None:
    patches = torch.randn(3, 5, 8)
    pool = AttentivePool(8)
    torch.testing.assert_close(pool(patches), patches.mean(1))
    with torch.no_grad():
        pool.score.weight[:, 0] = 1000.0  # to the patch whose first feature stands out most
    chosen = pool.norm(patches)[..., 0].argmax(1)
    torch.testing.assert_close(pool(patches), patches[torch.arange(3), chosen])
    assert AttentivePool(6).heads == 1


@pytest.mark.parametrize("pooling", ["attentive", "mean"])
def test_a_saved_classifier_comes_back_the_same(tmp_path: Path, pooling: str) -> None:
    torch.manual_seed(0)
    classifier = PatchClassifier(TinyEncoder(seed=1), ["sad", "glad"], pooling=pooling).eval()
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    assert torch.equal(classifier(pictures), torch.zeros(2, 2))
    nn.init.normal_(classifier.output.weight)
    save_classifier(classifier, tmp_path / "kept", accuracy=0.5)
    again = load_classifier(tmp_path / "kept", TinyEncoder.open(tmp_path / "kept" / "encoder"))
    assert again.classes == ("sad", "glad") and again.pooling == pooling
    torch.testing.assert_close(again(pictures), classifier(pictures))
    described = json.loads((tmp_path / "kept" / "classifier.json").read_text())
    assert described == {"classes": ["sad", "glad"], "pooling": pooling, "image_size": 16, "accuracy": 0.5}
    with pytest.raises(InputError, match="does not fit an encoder of width 16"):
        load_classifier(tmp_path / "kept", TinyEncoder(width=16))


def test_training_sees_the_kept_share_of_the_patches_and_measuring_all() -> None:
    seen: list[torch.Tensor] = []

    class Watched(TinyEncoder):
        def forward_visible(self, images: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
            seen.append(visible)
            features = self.forward_features(images)
            return features.gather(1, visible.unsqueeze(2).expand(-1, -1, self.width))

    classifier = PatchClassifier(Watched(), ["a", "b"], keep=0.5)
    pictures = torch.rand(6, 3, 16, 16)
    classifier(pictures)
    assert seen[0].shape == (6, 8) and all(len(set(row)) == 8 for row in seen[0].tolist())
    assert len({tuple(sorted(row)) for row in seen[0].tolist()}) > 1
    classifier.eval()(pictures)
    assert len(seen) == 1
    with pytest.raises(InputError, match=r"keep: got 0.5, but a TinyEncoder takes whole pictures only"):
        PatchClassifier(TinyEncoder(), ["a", "b"], keep=0.5)
    with pytest.raises(InputError, match=r"keep: got 0; it must be more than 0"):
        PatchClassifier(TinyEncoder(), ["a", "b"], keep=0)


def test_a_head_can_start_where_a_probe_ends() -> None:
    torch.manual_seed(0)
    classifier = PatchClassifier(TinyEncoder(), ["dark", "middle", "light"]).eval()
    labels = torch.arange(60) % 3
    pictures = (torch.rand(60, 3, 16, 16) - 0.5) + (labels - 1)[:, None, None, None] * 0.4
    with torch.no_grad():
        classifier.start_at_probe(classifier.pooled(pictures), labels)
        assert (classifier(pictures).argmax(1) == labels).float().mean() > 0.95


def test_what_is_no_classifier_or_cannot_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pooling: got max; allowed are attentive and mean"):
        PatchClassifier(TinyEncoder(), ["a", "b"], pooling="max")
    with pytest.raises(InputError, match="holds none that can be read"):
        load_classifier(tmp_path, TinyEncoder())

    class Unsaved(TinyEncoder):
        save_pretrained = property()  # type: ignore[assignment]

    with pytest.raises(InputError, match="save: a Unsaved cannot be saved on its own"):
        save_classifier(PatchClassifier(Unsaved(), ["a", "b"]), tmp_path / "never")
    assert not (tmp_path / "never").exists()
