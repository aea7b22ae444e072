"""GPTFace as an encoder: what it gives, what of it can be trained, and how its folder is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gptface.errors import InputError
from gptface.systems import open_encoder, random_encoder
from gptface.systems.gptface import Regime, build_sequence
from gptface.systems.gptface.encoder import GPTFaceEncoder
from tests.systems.gptface.generation.systems import tiny_system

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("alignment_size", [0, 24])
def test_features_are_the_residual_stream_at_the_image_tokens(alignment_size: int) -> None:
    system = tiny_system(alignment_size=alignment_size)
    encoder = GPTFaceEncoder(system.tokenizer, system.model).eval()
    with torch.no_grad():
        found = encoder.forward_named_features(IMAGES)
        codes = system.tokenizer.encode(IMAGES)
        nothing = torch.zeros(3, 0, dtype=torch.int64)
        sequence = build_sequence(system.model.vocabulary, nothing, [0] * 3, codes, Regime.MASKED)
        states = system.model.layer_states(sequence)
    rows = torch.arange(3).unsqueeze(1)
    for name, depth in {"embedding": 0, "penultimate layer": 1, "last layer": 2}.items():
        if name in found:
            assert torch.equal(found[name], states[depth][rows, sequence.image_slots])
            assert found[name].shape == (3, encoder.grid[0] * encoder.grid[1], encoder.width)
    assert {"penultimate layer", "last layer"} <= set(found)
    assert ("alignment" in found) == bool(alignment_size)
    if alignment_size:
        torch.testing.assert_close(found["alignment"].norm(dim=1), torch.ones(3))


def test_the_transformer_can_be_trained_on_and_the_tokenizer_stays_as_it_is() -> None:
    system = tiny_system()
    encoder = GPTFaceEncoder(system.tokenizer, system.model).train()
    assert not encoder.tokenizer.training and encoder.model.training
    encoder.forward_features(IMAGES).square().mean().backward()
    assert any(parameter.grad is not None for parameter in encoder.model.parameters())
    assert not any(parameter.requires_grad for parameter in encoder.tokenizer.parameters())


def test_a_folder_is_opened_or_begun_afresh(tmp_path: Path) -> None:
    system = tiny_system()
    system.save_pretrained(tmp_path / "system")
    opened, fresh, again, other = (
        open_encoder(tmp_path / "system"),
        *(random_encoder(tmp_path / "system", seed) for seed in (1, 1, 2)),
    )
    with torch.no_grad():
        expected = GPTFaceEncoder(system.tokenizer, system.model).eval().forward_features(IMAGES)
        assert torch.equal(opened.forward_features(IMAGES), expected)
        begun = fresh.forward_features(IMAGES)
        assert begun.shape == expected.shape and not torch.allclose(begun, expected)
        assert torch.equal(begun, again.forward_features(IMAGES))
        assert not torch.allclose(begun, other.forward_features(IMAGES))


def test_drawing_fresh_weights_leaves_the_callers_random_numbers_alone(tmp_path: Path) -> None:
    tiny_system().save_pretrained(tmp_path / "system")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    random_encoder(tmp_path / "system", 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("nowhere", "there is no such folder; allowed: .*a GPTFace system"),
        (".", "holds no encoder; allowed: .*a GPTFace system"),
        ("system", "lacks text_tokenizer/"),
        ("https://host/x", "is a URL"),
    ],
)
def test_a_folder_that_is_none_is_one_sentence(
    folder: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for part in ("tokenizer", "model"):
        (tmp_path / "system" / part).mkdir(parents=True)
    for attempt in (open_encoder, lambda path: random_encoder(path, 0)):
        with pytest.raises(InputError, match=sentence):
            attempt(folder)
