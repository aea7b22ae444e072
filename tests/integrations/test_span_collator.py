"""The span-masking collator: exact counts beside special tokens and padding, whole words, draws keyed by sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from gptface.errors import InputError
from gptface.integrations.span_collator import SpanMaskingCollator, longest_run
from gptface.ops import Fixed, TextSpans

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
LETTERS = "abcdefghijklmnop"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Words of letters, a token a letter."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL + list(LETTERS) + [f"##{c}" for c in LETTERS])}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = dict(zip(("pad_token", "cls_token", "sep_token", "mask_token", "unk_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def features(tokenizer: Any, texts: list[str]) -> list[dict[str, Any]]:
    found = []
    for index, text in enumerate(texts):
        encoded = tokenizer(text)
        found.append({**encoded, "word_ids": encoded.word_ids(), "sample_id": 100 + index})
    return found


@pytest.mark.parametrize("side", ["right", "left"])
def test_exact_counts_beside_special_tokens_and_padding(tokenizer: Any, side: str) -> None:
    tokenizer.padding_side = side
    data = features(tokenizer, ["abcdefghij", "abc", "a", "abcdefghijklmnop abcd"])
    collator = SpanMaskingCollator(tokenizer, TextSpans(0.4), seed=1, pad_to_multiple_of=8)
    batch = collator(data)
    tokenizer.padding_side = "right"
    assert batch["input_ids"].shape == (4, 24) and batch["attention_mask"].sum(1).tolist() == [12, 5, 3, 22]
    masked = batch["labels"] != -100
    assert masked.sum(1).tolist() == [4, 1, 1, 8]  # 0.4 of 10, 3, 1 and 20, rounded, and one at least
    original = tokenizer.pad([{"input_ids": row["input_ids"]} for row in data], padding_side=side, return_tensors="pt")
    width = original["input_ids"].shape[1]
    own = slice(0, width) if side == "right" else slice(24 - width, None)
    truth, hidden = original["input_ids"], batch["input_ids"][:, own]
    assert torch.equal(batch["labels"][:, own][masked[:, own]], truth[masked[:, own]])
    assert torch.equal(hidden[~masked[:, own]], truth[~masked[:, own]])
    assert (batch["labels"][masked] >= len(SPECIAL)).all()
    assert (hidden[masked[:, own]] >= 3).all() and not (hidden[masked[:, own]] == 4).any()


def test_whole_words(tokenizer: Any) -> None:
    data = features(tokenizer, ["abc def ghi jkl mno"] * 20)
    collator = SpanMaskingCollator(tokenizer, TextSpans(0.4, Fixed(1), whole_words=True), probabilities=(1.0, 0.0, 0.0))
    masked = collator(data)["labels"][:, 1:-1] != -100
    by_word = masked.reshape(20, 5, 3)
    assert (by_word.all(2) | ~by_word.any(2)).all() and (by_word.all(2).sum(1) == 2).all()


def test_keyed_by_seed_epoch_and_sample(tokenizer: Any) -> None:
    data = features(tokenizer, ["abcdefgh"] * 6)
    collator = SpanMaskingCollator(tokenizer, TextSpans(0.5), seed=1)
    first = collator(data)["input_ids"]
    assert torch.equal(collator(data[3:5])["input_ids"], first[3:5])
    loader = DataLoader(data, batch_size=3, collate_fn=collator, num_workers=1, persistent_workers=True)
    assert torch.equal(torch.cat([batch["input_ids"] for batch in loader]), first)
    collator.set_epoch(1)
    second = collator(data)["input_ids"]
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat([batch["input_ids"] for batch in loader]), second)


def test_without_a_seed_every_call_is_new_and_torch_seeds_it(tokenizer: Any) -> None:
    data = features(tokenizer, ["abcdefgh"] * 6)
    collator = SpanMaskingCollator(tokenizer, TextSpans(0.5))
    torch.manual_seed(0)
    first, second = collator(data)["labels"], collator(data)["labels"]
    torch.manual_seed(0)
    assert torch.equal(collator(data)["labels"], first) and not torch.equal(first, second)


def test_the_longest_run_without_special_ids() -> None:
    assert longest_run(20, [0, 1, 5, 19]) == (6, 19)
    assert longest_run(20, []) == (0, 20)
    with pytest.raises(InputError, match="special"):
        longest_run(2, [0, 1])


def test_bad_calls_are_named(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="sample_id"):
        SpanMaskingCollator(tokenizer, seed=1)([{"input_ids": [1, 5, 2]}])
    with pytest.raises(InputError, match="word_ids"):
        SpanMaskingCollator(tokenizer, TextSpans(whole_words=True))([{"input_ids": [1, 5, 2]}])
    with pytest.raises(InputError, match="spec"):
        SpanMaskingCollator(tokenizer, "spans")  # type: ignore[arg-type]
    without = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(InputError, match="mask token"):
        SpanMaskingCollator(without)


def test_short_texts_are_masked_and_empty_ones_named(tokenizer: Any) -> None:
    """At 0.15 of one to three pieces rounding would mask none, and the mean loss over no label is NaN."""
    collator = SpanMaskingCollator(tokenizer, TextSpans(0.15))
    for text in ("a", "ab", "abc"):
        assert (collator(features(tokenizer, [text]))["labels"] != -100).sum() == 1
    batch = collator(features(tokenizer, ["", "ab"]))
    assert (batch["labels"] != -100).sum(1).tolist() == [0, 1]
    with pytest.raises(InputError, match="none of the 2 has a token that can be masked"):
        collator(features(tokenizer, ["", ""]))
