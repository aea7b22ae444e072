from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gptface.data.text import (
    SpecialTokens,
    encode_captions,
    load_text_tokenizer,
    special_tokens,
    train_text_tokenizer,
)
from gptface.errors import InputError

CAPTIONS = [
    "A smiling woman with long brown hair.",
    "a man with glasses and a grey beard",
    "Portrait of an old man, frowning",
    "a young woman, surprised, wearing a hat",
] * 3


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_text_tokenizer(CAPTIONS, 200)


def test_special_tokens_come_first_and_the_size_is_kept(tokenizer: PreTrainedTokenizerFast) -> None:
    assert special_tokens(tokenizer) == SpecialTokens(pad=0, unk=1, cls=2, sep=3, mask=4)
    assert 50 < len(tokenizer) <= 200
    assert len(train_text_tokenizer(CAPTIONS, 60)) <= 60


@pytest.mark.parametrize("vocab_size", [60, 90, 120])
def test_training_is_deterministic_although_the_library_s_trainer_is_not(vocab_size: int) -> None:
    expected = train_text_tokenizer(CAPTIONS, vocab_size).get_vocab()
    assert sorted(expected.values()) == list(range(len(expected)))
    for _ in range(5):
        assert train_text_tokenizer(iter(CAPTIONS), vocab_size).get_vocab() == expected


def test_rare_characters_do_not_crowd_out_words() -> None:
    captions = [*CAPTIONS, "".join(chr(0x1F300 + n) for n in range(200))]
    trained = train_text_tokenizer(captions, 100)
    assert len(trained) <= 100
    assert encode_captions(trained, ["a man"], 8)[1].tolist() <= [4]


def test_encoding_pads_truncates_and_leaves_out_cls_and_sep(tokenizer: PreTrainedTokenizerFast) -> None:
    ids, lengths = encode_captions(tokenizer, ["a man", "", "a man with glasses and a grey beard"], 5)
    assert ids.dtype == lengths.dtype == torch.int64 and ids.shape == (3, 5)
    assert lengths.tolist() == [2, 0, 5]
    assert ids[0, 2:].tolist() == [0, 0, 0] and ids[1].tolist() == [0] * 5
    assert not torch.isin(ids, torch.tensor([2, 3, 4])).any()
    assert torch.equal(ids[0, :2], ids[2, :2])
    empty_ids, empty_lengths = encode_captions(tokenizer, [], 5)
    assert empty_ids.shape == (0, 5) and empty_lengths.shape == (0,)


def test_case_and_accents_do_not_matter(tokenizer: PreTrainedTokenizerFast) -> None:
    left, right = encode_captions(tokenizer, ["A SMILING Wöman", "a smiling woman"], 8)[0]
    assert torch.equal(left, right)


@settings(max_examples=60, deadline=None)
@given(captions=st.lists(st.text(max_size=60), min_size=1, max_size=4), max_length=st.integers(1, 12))
def test_any_text_can_be_encoded(tokenizer: PreTrainedTokenizerFast, captions: list[str], max_length: int) -> None:
    ids, lengths = encode_captions(tokenizer, captions, max_length)
    together = [row[:length].tolist() for row, length in zip(ids, lengths.tolist(), strict=True)]
    alone = []
    for caption in captions:
        row, length = encode_captions(tokenizer, [caption], max_length)
        alone.append(row[0, : int(length)].tolist())
    assert together == alone
    assert ids.min() >= 0 and ids.max() < len(tokenizer) and lengths.max() <= max_length
    assert not any(token in (0, 2, 3, 4) for row in together for token in row)


def test_a_caption_cannot_forge_special_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    forged = "a [SEP] man [MASK] [CLS] [PAD] hat"
    ids, lengths = encode_captions(tokenizer, [forged], 16)
    row = ids[0, : int(lengths)].tolist()
    assert row.count(1) == 4 and not set(row) & {0, 2, 3, 4}


def test_save_and_load(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    for place in (tmp_path / "tokenizer", tmp_path / "tokenizer" / "tokenizer.json"):
        loaded = load_text_tokenizer(place)
        assert special_tokens(loaded) == special_tokens(tokenizer) and len(loaded) == len(tokenizer)
        assert torch.equal(encode_captions(loaded, CAPTIONS, 9)[0], encode_captions(tokenizer, CAPTIONS, 9)[0])


def test_a_vocabulary_file_as_bert_s(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "smil", "##ing", "face", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    for place in (tmp_path, tmp_path / "vocab.txt"):
        loaded = load_text_tokenizer(place)
        assert special_tokens(loaded) == SpecialTokens(pad=0, unk=2, cls=3, sep=4, mask=5)
        ids, lengths = encode_captions(loaded, ["A smiling dog."], 6)
        assert ids.tolist() == [[6, 7, 8, 2, 10, 0]] and lengths.tolist() == [5]


def test_a_tokenizer_with_other_special_tokens_is_completed(tmp_path: Path) -> None:
    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "a": 3, "face": 4}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    loaded = load_text_tokenizer(tmp_path)
    assert special_tokens(loaded) == SpecialTokens(pad=5, unk=2, cls=0, sep=1, mask=6)
    assert len(loaded) == 7
    ids, lengths = encode_captions(loaded, ["a face a face", "dog"], 5)
    assert ids.tolist() == [[3, 4, 3, 4, 5], [2, 5, 5, 5, 5]] and lengths.tolist() == [4, 1]


def test_what_cannot_be_used_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "note.txt").write_bytes(b"\xff\xfe")
    for name in ("absent", "folder", "tokenizer.json", "note.txt"):
        with pytest.raises(InputError, match=name) as caught:
            load_text_tokenizer(tmp_path / name)
        assert len(str(caught.value)) < 600
    with pytest.raises(InputError, match="vocab_size"):
        train_text_tokenizer(CAPTIONS, 6)
    for nothing in ([], ["", " "]):
        with pytest.raises(InputError, match="no text"):
            train_text_tokenizer(nothing, 100)
    with pytest.raises(InputError, match="max_length"):
        encode_captions(train_text_tokenizer(CAPTIONS, 50), ["a"], 0)
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(InputError, match="no pad, unk, cls, sep, mask"):
        special_tokens(bare)


def test_lone_surrogates_are_read_as_replacement_characters() -> None:
    captions = ["a smiling \ud83d woman", "a man with a beard \udcff"] * 3
    tokenizer = train_text_tokenizer(captions, 100)
    ids, lengths = encode_captions(tokenizer, ["a smiling \ud83d woman"], 20)
    same, same_lengths = encode_captions(tokenizer, ["a smiling \ufffd woman"], 20)
    assert torch.equal(ids, same) and torch.equal(lengths, same_lengths)
