# %% [markdown]
# # Attention in a transformers model
#
# One line changes the attention of a loaded model. Weights, state dictionary and calls stay; what the masks hide is
# then neither stored nor computed. Here with a small BERT and a small Llama of random weights, so that nothing is
# downloaded.

# %%
import torch
from matplotlib import pyplot
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from gptface.integrations import patch
from gptface.ops import IntervalMask
from gptface.ops.attention import explain

torch.set_num_threads(1)
_ = torch.manual_seed(0)
sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
model = BertModel(BertConfig(**sizes)).eval()

# %% [markdown]
# ## The same numbers
#
# A batch of four sentences, most of which is padding.

# %%
lengths = torch.tensor([128, 40, 17, 5])
padding = (torch.arange(128) < lengths[:, None]).long()
tokens = torch.randint(1000, (4, 128))

before = model(input_ids=tokens, attention_mask=padding).last_hidden_state
changed = patch(model)
after = model(input_ids=tokens, attention_mask=padding).last_hidden_state

print(changed)
print("largest difference where there are tokens:", float((after - before)[padding.bool()].abs().max().detach()))

# %% [markdown]
# Padding was recognised from the mask that the model makes of `attention_mask`; rows of padding have output 0.
# `undo()` goes back.

# %%
changed.undo()
print(model.config._attn_implementation)

# %% [markdown]
# ## A mask of your own
#
# Causal text behind a picture that sees itself both ways: an `IntervalMask` in the place of `attention_mask`. Each
# row stores where its visible keys begin and end.

# %%
decoder = LlamaForCausalLM(LlamaConfig(vocab_size=1000, num_key_value_heads=2, **sizes))
patch(decoder)
mask = IntervalMask.prefix_lm(prefix_lengths=torch.tensor([16, 9]), lengths=torch.tensor([48, 30]), num_keys=48)
logits = decoder(input_ids=torch.randint(1000, (2, 48)), attention_mask=mask).logits
logits.sum().backward()
print(tuple(logits.shape))

# %%
figure, axes = pyplot.subplots(1, 2, figsize=(7, 3.6))
titles = ("16 tokens of a picture, 32 of text", "9 and 21, the rest padding")
for axis, sample, title in zip(axes, mask.to_dense(), titles, strict=True):
    axis.imshow(~sample, cmap="gray", interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("keys")
    axis.set_ylabel("queries")
figure.tight_layout()
pyplot.show()

# %% [markdown]
# ## Which kernel runs
#
# `explain` says it for one call; `gptface doctor` for this machine.

# %%
query = torch.randn(2, 48, 4, 16)
print(explain(query, query, query, mask))

# %% [markdown]
# What it gains on which machine, and code for `Trainer`, flash-attn, SDPA, timm-style models and C++: [embedding in
# your code](../embedding.md).
