"""Span-masked language modelling with transformers: one collator, nothing else changes."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from gptface.integrations.span_collator import SpanMaskingCollator
from gptface.ops import Geometric, TextSpans

CAPTIONS = [
    "a young woman with long wavy blond hair and a faint smile",
    "an old man with a grey beard and round glasses",
    "a smiling girl with brown eyes and a red hat",
    "a bald man with a moustache who looks surprised",
]


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the captions' own words, so that the example needs no download."""
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
    vocabulary = {word: index for index, word in enumerate(special + words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        unk_token="[UNK]",
    )


def main(epochs: int = 3) -> list[float]:
    tokenizer = word_tokenizer()
    features = [{**tokenizer(caption), "sample_id": index} for index, caption in enumerate(CAPTIONS)]
    # Keyed by (seed, epoch, sample_id): any number of workers, processes or restarts gives the same masks.
    collator = SpanMaskingCollator(tokenizer, TextSpans(0.3, Geometric(0.4, 5)), seed=0)
    loader = DataLoader(features, batch_size=2, collate_fn=collator)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    model = BertForMaskedLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for epoch in range(epochs):
        collator.set_epoch(epoch)
        for batch in loader:
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    print(tokenizer.decode(batch["input_ids"][0]))
    print("loss", " ".join(f"{loss:.2f}" for loss in losses))
    return losses


if __name__ == "__main__":
    main()
