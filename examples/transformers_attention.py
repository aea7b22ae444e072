"""A small Llama that learns to copy, with gptface's attention: two lines of a training program change."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import gptface.integrations.transformers_attention  # noqa: F401  line one: registers the name "gptface"


def main(steps: int = 60) -> list[float]:
    """Train on random words that are said twice; the second saying is what can be learnt. Returns the losses."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, attn_implementation="gptface",  # line two
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        words = torch.randint(1, 16, (16, 8))
        tokens = torch.cat([words, words], dim=1)
        labels = tokens.clone()
        labels[:, :8] = -100  # the first saying is random
        loss = model(input_ids=tokens, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 20 == 0:
            print(f"step {step:3d}  loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
