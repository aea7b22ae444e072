"""The span-masking collator: exact counts beside special tokens and padding, whole words, draws keyed by sample."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

from gptface.errors import InputError
from gptface.integrations.span_collator import MaskingEpochs, SpanMaskingCollator, longest_run
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
    assert masked.sum(1).tolist() == [round(0.4 * n) for n in (10, 3, 1, 20)]
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


class Recorded(SpanMaskingCollator):
    """Keeps what it was asked for: the id of every sample and its labels."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        if not hasattr(self, "calls"):
            self.calls: list[tuple[int, list[int]]] = []
        batch = super().__call__(features)
        for feature, labels in zip(features, batch["labels"].tolist(), strict=True):
            self.calls.append((feature["sample_id"], labels))
        return batch


def train(tokenizer: Any, folder: Path, *, told: bool = True, resume: str | None = None, **options: Any) -> Recorded:
    """Three epochs of ``transformers.Trainer`` with four samples, one a step."""
    collator = Recorded(tokenizer, TextSpans(0.5), seed=7)
    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
        )
    )
    settings: dict[str, Any] = {
        "num_train_epochs": 3, "per_device_train_batch_size": 1, "save_strategy": "steps", "save_steps": 6,
        "report_to": [], "disable_tqdm": True, "use_cpu": True, "remove_unused_columns": False, **options,
    }  # fmt: skip
    Trainer(
        model,
        TrainingArguments(str(folder), **settings),
        train_dataset=samples(tokenizer),
        data_collator=collator,
        callbacks=[MaskingEpochs(collator)] if told else [],
    ).train(resume_from_checkpoint=resume)
    return collator


def samples(tokenizer: Any) -> Any:
    data = features(tokenizer, ["abcdefghijkl", "bcdefghijklm", "cdefghijklmn", "defghijklmno"])
    return [{key: value for key, value in row.items() if key != "word_ids"} for row in data]


def expected(tokenizer: Any, epoch: int) -> dict[int, list[int]]:
    collator = SpanMaskingCollator(tokenizer, TextSpans(0.5), seed=7)
    collator.set_epoch(epoch)
    rows = samples(tokenizer)
    return dict(zip([row["sample_id"] for row in rows], collator(rows)["labels"].tolist(), strict=True))


def test_every_epoch_of_a_trainer_has_its_own_masks_and_so_has_a_resumed_one(tokenizer: Any, tmp_path: Path) -> None:
    calls = train(tokenizer, tmp_path).calls
    for epoch in range(3):
        assert dict(calls[4 * epoch : 4 * epoch + 4]) == expected(tokenizer, epoch)
    assert expected(tokenizer, 0) != expected(tokenizer, 1) != expected(tokenizer, 2)

    resumed = train(tokenizer, tmp_path, resume=str(tmp_path / "checkpoint-6")).calls
    rest = resumed[-6:]  # what is left of the second epoch, and the third
    assert dict(rest[:2]).items() <= expected(tokenizer, 1).items()
    assert dict(rest[2:]) == expected(tokenizer, 2)


def test_a_trainer_whose_epochs_repeat_their_masks_is_warned_of(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"masked again as in epoch 0.*MaskingEpochs") as caught:
        train(tokenizer, tmp_path, told=False)
    assert len([warning for warning in caught if "masked again" in str(warning.message)]) == 1


def test_repetition_that_was_asked_for_is_not_warned_of(tokenizer: Any) -> None:
    collator = SpanMaskingCollator(tokenizer, TextSpans(0.5), seed=7)
    collator.set_epoch(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = collator(samples(tokenizer)), collator(samples(tokenizer))
    assert torch.equal(first["labels"], second["labels"])


def test_columns_that_the_trainer_dropped_are_named_with_the_way_out(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks 'sample_id'.*remove_unused_columns=False"):
        train(tokenizer, tmp_path, remove_unused_columns=True)


def test_a_column_of_text_is_named(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="'text' holds text"):
        SpanMaskingCollator(tokenizer)([{"input_ids": [1, 5, 2], "text": "a"}])
