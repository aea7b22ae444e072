"""Other people's vision models, saved in small, as encoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gptface.errors import InputError
from gptface.evaluation.encoders import named_features
from gptface.evaluation.vision_models import KINDS, VisionModelEncoder, patch_grid
from gptface.systems import open_encoder, random_encoder

COLOURS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.5]}
SMALL = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}


def save(folder: Path, kind: str, **more: object) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **{**SMALL, "image_size": 16, "patch_size": 4, **more}))
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(COLOURS))
    return model


def in_its_colours(images: torch.Tensor) -> torch.Tensor:
    mean, deviation = (torch.tensor(COLOURS[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    return ((images + 1) / 2 - mean) / deviation


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_vision_transformer_gives_the_features_of_its_patches(tmp_path: Path, images: torch.Tensor) -> None:
    model = save(tmp_path, "vit")
    encoder = open_encoder(tmp_path)
    assert (encoder.image_size, encoder.grid, encoder.width) == (16, (4, 4), 8)
    with torch.no_grad():
        expected = model(in_its_colours(images), output_hidden_states=True)
        found = named_features(encoder, images)
        other = random_encoder(tmp_path, 1).forward_features(images)
    torch.testing.assert_close(found["last layer"], expected.last_hidden_state[:, 1:])
    torch.testing.assert_close(found["class token"], expected.last_hidden_state[:, 0])
    torch.testing.assert_close(found["penultimate layer"], expected.hidden_states[2][:, 1:])
    torch.testing.assert_close(found["middle layer"], expected.hidden_states[1][:, 1:])
    assert not torch.allclose(other, found["last layer"])
    assert isinstance(encoder, nn.Module) and len(list(encoder.parameters())) == len(list(model.parameters()))


def test_a_masked_auto_encoder_hides_and_shuffles_nothing(tmp_path: Path, images: torch.Tensor) -> None:
    save(tmp_path, "vit_mae")
    encoder = open_encoder(tmp_path)
    assert encoder.grid == (4, 4)
    with torch.no_grad():
        found = encoder.forward_features(images)
        torch.testing.assert_close(encoder.forward_features(images), found)
        moved = images.clone()
        moved[:, :, :4, 12:] = 0  # the last patch of the first row
        change = (encoder.forward_features(moved) - found).abs().sum((0, 2))
    assert int(change.argmax()) == 3


def test_a_model_that_sees_and_reads_is_asked_to_see(tmp_path: Path, images: torch.Tensor) -> None:
    from transformers import CLIPConfig, CLIPModel

    vision = {**SMALL, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config={**SMALL, "vocab_size": 20}, projection_dim=8))
    model.eval().save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(COLOURS))
    encoder = open_encoder(tmp_path)
    with torch.no_grad():
        expected = model.vision_model(in_its_colours(images)).last_hidden_state
        torch.testing.assert_close(encoder.forward_features(images), expected[:, 1:])
    assert encoder.grid == (2, 2)


@pytest.mark.parametrize(
    ("tokens", "size", "patch", "expected"),
    [
        (197, 224, 16, ((14, 14), 1)),
        (201, 224, 16, ((14, 14), 5)),  # a class token and four registers
        (49, 224, 4, ((7, 7), 0)),  # patches merged on the way
        (49, 224, None, ((7, 7), 0)),
    ],
)
def test_the_grid_of_known_models(
    tokens: int, size: int, patch: int | None, expected: tuple[tuple[int, int], int]
) -> None:
    assert patch_grid(tokens, size, patch) == expected


def test_what_is_no_square_grid_is_refused() -> None:
    with pytest.raises(InputError, match="its 30 features of a picture of 16² pixels are no square grid"):
        VisionModelEncoder(nn.Identity(), lambda p: [torch.zeros(len(p), 30, 3)], 16, None, [0.0] * 3, [1.0] * 3)
    maps = VisionModelEncoder(nn.Identity(), lambda p: [p[:, :, ::4, ::4]], 16, None, [0.5] * 3, [0.5] * 3)
    assert maps.grid == (4, 4) and maps.width == 3
    pictures = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(maps.forward_features(pictures)[0, 5], pictures[0, :, 4, 4])


def test_folders_that_cannot_be_used_are_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    save(folder, "vit")
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"preprocessor_config\.json: needs image_mean and image_std"):
        open_encoder(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(COLOURS))
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="cannot be loaded by transformers"):
        open_encoder(folder)
    save(folder, "vit")
    whole = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    weights = dict(whole)
    lost = next(name for name in weights if "embeddings.patch" in name)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"its weights lack .*embeddings\.patch.* \(1 in all\)"):
        open_encoder(folder)
    heads = {name: value for name, value in whole.items() if "pooler" not in name}
    save_file(heads, folder / "model.safetensors", {"format": "pt"})
    assert len(heads) < len(whole) and open_encoder(folder).grid == (4, 4)
    text = tmp_path / "bert"
    save(text, "bert", vocab_size=20)
    with pytest.raises(InputError, match="a BertModel does not take pictures alone"):
        open_encoder(text)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no encoder; allowed: .* or a timm model"):
        open_encoder(tmp_path / "empty")


def test_timm_folders_are_recognised_and_ask_for_timm(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"}))
    assert KINDS[1].recognises(tmp_path) and not KINDS[0].recognises(tmp_path)
    try:
        import timm  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(InputError, match="a timm model needs timm: pip install timm"):
            open_encoder(tmp_path)
    else:
        with pytest.raises(InputError, match="needs mean and std"):
            open_encoder(tmp_path)


def test_a_timm_model_gives_the_features_of_its_patches(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    arguments = {"img_size": 32, "embed_dim": 12, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", **arguments).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    colours = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "input_size": [3, 32, 32]}
    described = {"architecture": "vit_tiny_patch16_224", "model_args": arguments, "pretrained_cfg": colours}
    (tmp_path / "config.json").write_text(json.dumps(described))
    encoder = open_encoder(tmp_path)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_features(images), model.forward_features(images)[:, 1:])
        fresh = random_encoder(tmp_path, 3).forward_features(images)
    assert not torch.allclose(fresh, encoder.forward_features(images))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="its weights are missing"):
        open_encoder(tmp_path)
