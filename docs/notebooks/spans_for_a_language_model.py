# %% [markdown]
# # A masked language model with spans
#
# The captions of drawn faces, a BERT of two layers, and `SpanMaskingCollator` in the place of
# `DataCollatorForLanguageModeling`: spans are hidden instead of single tokens, exactly as many as asked for, and the
# same ones for a caption in any batch.

# %%
import torch
from matplotlib import pyplot
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from gptface.data.procedural import describe, sample_specification
from gptface.integrations import patch
from gptface.integrations.span_collator import SpanMaskingCollator
from gptface.ops import Geometric, TextSpans

torch.set_num_threads(1)
_ = torch.manual_seed(0)

# %% [markdown]
# ## Captions and their words

# %%
captions = [describe(sample_specification(0, number), 0, number) for number in range(800)]
print(*captions[:3], sep="\n")

words = sorted({word.strip(",") for caption in captions for word in caption.split()})
special = ["[PAD]", "[MASK]", "[UNK]"]
vocabulary = {word: number for number, word in enumerate([*special, ",", *words])}
plain = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
plain.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=plain,
    pad_token="[PAD]",
    mask_token="[MASK]",
    unk_token="[UNK]",
    model_input_names=["input_ids", "attention_mask"],
)
rows = [{**tokenizer(caption), "sample_id": number} for number, caption in enumerate(captions)]
train, held_out = rows[:700], rows[700:]

# %% [markdown]
# ## What is hidden
#
# The number of hidden words is exact, and with a seed a caption's mask follows from (seed, epoch, its own number) and
# nothing else.

# %%
collator = SpanMaskingCollator(tokenizer, TextSpans(0.25, Geometric(0.4, 5)), seed=0)
batch = collator(train[:4])
for row, labels in zip(batch["input_ids"], batch["labels"], strict=True):
    print(tokenizer.decode(row).replace(" [PAD]", ""), "·", int((labels != -100).sum()), "hidden")

collator.set_epoch(0)  # the same epoch once more
again = collator([train[2], train[0]])
same = int(batch["attention_mask"][0].sum())
print("the same in another batch:", bool((again["labels"][1, :same] == batch["labels"][0, :same]).all()))

# %% [markdown]
# ## Training

# %%
sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
model = BertForMaskedLM(BertConfig(vocab_size=len(vocabulary), **sizes))
patch(model)  # attention that skips padding
optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
loader = DataLoader(train, batch_size=50, shuffle=True, collate_fn=collator)
losses = []
for epoch in range(16):
    collator.set_epoch(epoch)
    for batch in loader:
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))

# %%
pyplot.figure(figsize=(6, 2.6))
pyplot.plot(losses)
pyplot.xlabel("step")
pyplot.ylabel("nats a hidden word")
pyplot.tight_layout()
pyplot.show()

# %% [markdown]
# ## Filled in
#
# Of captions that it has not seen: what was there, and what the model says of it.

# %%
collator.set_epoch(0)
batch = collator(held_out[:3])
with torch.no_grad():
    said = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(-1)
for row, labels, guess in zip(batch["input_ids"], batch["labels"], said, strict=True):
    hidden = labels != -100
    print(tokenizer.decode(row).replace(" [PAD]", ""))
    print("   was :", tokenizer.convert_ids_to_tokens(labels[hidden].tolist()))
    print("   said:", tokenizer.convert_ids_to_tokens(guess[hidden].tolist()))

# %% [markdown]
# Images beside the words, whole words, other laws of lengths: [span masks](../operators/span-masks.md).
