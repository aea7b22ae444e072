"""A trained system on disk: whole, checked against itself, and clear about what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gptface.errors import InputError
from gptface.models import FaceParser, FaceParserConfig, FaceTokenizer, FaceTokenizerConfig
from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel, FaceSystem


def word_pieces() -> PreTrainedTokenizerFast:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "smiling", "woman"]
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def make_system(*, parser: bool = True, **language: object) -> FaceSystem:
    values = {
        "text_vocab_size": 8,
        "codebook_size": 64,
        "image_grid": (4, 4),
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    return FaceSystem(
        tokenizer=FaceTokenizer(FaceTokenizerConfig.tiny()),
        model=FaceLanguageModel(FaceLanguageConfig.tiny(**{**values, **language})),
        text_tokenizer=word_pieces(),
        parser=FaceParser(FaceParserConfig.tiny(attribute_names=["Smiling"])) if parser else None,
    )


@pytest.mark.parametrize("parser", [True, False])
def test_round_trip(tmp_path: Path, parser: bool) -> None:
    system = make_system(parser=parser)
    (tmp_path / "config.yaml").write_text("kept: true\n")
    system.save_pretrained(tmp_path)
    loaded = FaceSystem.from_pretrained(tmp_path)
    assert (tmp_path / "config.yaml").is_file()
    assert (loaded.parser is not None) == parser
    assert not loaded.model.training and not loaded.tokenizer.training
    assert loaded.device == torch.device("cpu")
    assert loaded.text_tokenizer("a smiling woman", add_special_tokens=False)["input_ids"] == [5, 6, 7]
    for name, value in system.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    system.save_pretrained(tmp_path)  # over a former one


@pytest.mark.parametrize("part", ["tokenizer", "model", "text_tokenizer"])
def test_a_part_is_missing(tmp_path: Path, part: str) -> None:
    make_system().save_pretrained(tmp_path)
    shutil.rmtree(tmp_path / part)
    with pytest.raises(InputError, match=f"is not a trained system, it lacks {part}/"):
        FaceSystem.from_pretrained(tmp_path)


@pytest.mark.parametrize("part", ["tokenizer", "model", "text_tokenizer", "parser"])
def test_a_part_is_empty(tmp_path: Path, part: str) -> None:
    make_system().save_pretrained(tmp_path)
    shutil.rmtree(tmp_path / part)
    (tmp_path / part).mkdir()
    with pytest.raises(InputError, match=part):
        FaceSystem.from_pretrained(tmp_path)


def test_there_is_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        FaceSystem.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ({"codebook_size": 32}, "64 codes, but the model was made for 32"),
        ({"image_grid": (4, 8)}, r"grid is \(4, 4\), but the model was made for \(4, 8\)"),
        ({"text_vocab_size": 7}, "8 pieces, but the model was made for 7"),
        ({"mask_token_id": 5}, "mask token has the id 4, but the model was made for 5"),
    ],
)
def test_parts_of_different_systems(language: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_system(**language)  # type: ignore[arg-type]


def test_a_parser_for_another_image_size() -> None:
    system = make_system()
    with pytest.raises(InputError, match="images of 64 pixels, the image tokenizer for 32"):
        FaceSystem(system.tokenizer, system.model, system.text_tokenizer, FaceParser(FaceParserConfig()))
