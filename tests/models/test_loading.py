"""Saving and loading: exact, local, through the Auto classes, and strict about what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from gptface.errors import InputError
from gptface.models import FaceParser, FaceParserConfig, FaceTokenizer, FaceTokenizerConfig
from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel


def tokenizer() -> FaceTokenizer:
    model = FaceTokenizer(FaceTokenizerConfig.tiny(codebook_size=32))
    model(torch.rand(4, 3, 32, 32) * 2 - 1)  # so that codebook statistics and k-means have moved
    return model


def language(**overrides: Any) -> FaceLanguageModel:
    values = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return FaceLanguageModel(FaceLanguageConfig.tiny(**{**values, **overrides}))


def parser() -> FaceParser:
    names = {"region_names": ["background", "skin"], "attribute_names": ["Smiling"], "expression_names": ["neutral"]}
    return FaceParser(FaceParserConfig.tiny(**names))


MODELS = {
    "tokenizer": tokenizer,
    "language": language,
    "language, aligned": lambda: language(alignment_size=16),
    "parser": parser,
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    for parameter in model.parameters():  # away from whatever initialisation would give again
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    torch.manual_seed(1)
    for loaded in (
        type(model).from_pretrained(tmp_path),
        AutoModel.from_pretrained(tmp_path, local_files_only=True),
    ):
        assert type(loaded) is type(model)
        assert not loaded.training
        state = loaded.state_dict()
        assert set(state) == set(model.state_dict())
        for key, value in model.state_dict().items():
            assert torch.equal(state[key], value), key
    config = AutoConfig.from_pretrained(tmp_path, local_files_only=True)
    assert type(config) is type(model.config)
    for field in type(config).field_names():
        assert getattr(config, field) == getattr(model.config, field), field


def test_a_loaded_tokenizer_gives_the_same_codes_and_trains_on(tmp_path: Path) -> None:
    model = tokenizer()
    model.save_pretrained(tmp_path)
    loaded = FaceTokenizer.from_pretrained(tmp_path)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    assert torch.equal(loaded.encode(images), model.eval().encode(images))
    model.train()
    loaded.train()
    # The k-means start is over for both: the next step is an ordinary moving average, not a fresh codebook.
    torch.testing.assert_close(loaded(images).reconstruction, model(images).reconstruction)
    torch.testing.assert_close(loaded.quantizer.weight, model.quantizer.weight)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing-here: is not a folder"):
        FaceTokenizer.from_pretrained(tmp_path / "nothing-here")


def test_a_name_on_the_hub_is_not_looked_up() -> None:
    with pytest.raises(InputError, match=r"bert-base-uncased: is not a folder"):
        FaceLanguageModel.from_pretrained("bert-base-uncased")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        FaceTokenizer.from_pretrained(tmp_path)


def test_a_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{ nonsense")
    with pytest.raises(InputError, match="not a readable model configuration"):
        FaceTokenizer.from_pretrained(tmp_path)


def test_another_kind_of_model(tmp_path: Path) -> None:
    language().save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match="holds a model of type 'gptface', but FaceTokenizer needs 'gptface_tokenizer'"
    ):
        FaceTokenizer.from_pretrained(tmp_path)


def test_an_impossible_value_in_the_file(tmp_path: Path) -> None:
    language().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": 5}))
    with pytest.raises(InputError, match="num_attention_heads 5 does not divide hidden_size 32"):
        FaceLanguageModel.from_pretrained(tmp_path)


def test_missing_weights(tmp_path: Path) -> None:
    language().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["match_head.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"missing keys match_head\.dense\.weight"):
        FaceLanguageModel.from_pretrained(tmp_path)


def test_no_weights_at_all(tmp_path: Path) -> None:
    language().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded as a FaceLanguageModel"):
        FaceLanguageModel.from_pretrained(tmp_path)


def test_truncated_weights(tmp_path: Path) -> None:
    language().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded as a FaceLanguageModel"):
        FaceLanguageModel.from_pretrained(tmp_path)


def test_weights_of_another_size(tmp_path: Path) -> None:
    language().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "codebook_size": 99}))
    with pytest.raises(InputError, match="FaceLanguageModel"):
        FaceLanguageModel.from_pretrained(tmp_path)
