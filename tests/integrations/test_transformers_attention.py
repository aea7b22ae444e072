"""``attn_implementation="gptface"``: outputs and gradients of small random models equal those of eager attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)

from gptface.errors import InputError
from gptface.integrations import transformers_attention, transformers_masks
from gptface.ops import IntervalMask

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT: dict[str, Any] = {**SMALL, "vocab_size": 50, "max_position_embeddings": 40}
RIGHT = torch.tensor([[1] * 11, [1] * 7 + [0] * 4])
LEFT = RIGHT.flip(1)


def make(model: type[PreTrainedModel], config: Any, implementation: str) -> PreTrainedModel:
    torch.manual_seed(0)
    made = model._from_config(config, attn_implementation=implementation)
    return made.eval()


def run(model: PreTrainedModel, inputs: dict[str, Any], seen: torch.Tensor | None) -> list[torch.Tensor]:
    """The output where it means something, and all gradients of a function of it."""
    out = model(**inputs)[0]
    if seen is not None:
        out = out[seen.bool()]
    generator = torch.Generator().manual_seed(1)
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    return [out.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]


def assert_as_eager(model: type[PreTrainedModel], config: Any, inputs: dict[str, Any], seen: Any = None) -> None:
    results = [run(make(model, config, name), inputs, seen) for name in ("eager", transformers_attention.NAME)]
    assert len(results[0]) == len(results[1])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def tokens() -> torch.Tensor:
    return torch.randint(1, 50, (2, 11), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("padding", [None, RIGHT])
def test_bert(padding: torch.Tensor | None) -> None:
    inputs = {"input_ids": tokens(), "attention_mask": padding}
    assert_as_eager(BertModel, BertConfig(**TEXT), inputs, padding)


@pytest.mark.parametrize("padding", [None, RIGHT, LEFT], ids=["none", "right", "left"])
def test_llama_with_grouped_heads(padding: torch.Tensor | None) -> None:
    config = LlamaConfig(**{**TEXT, "num_attention_heads": 4, "hidden_size": 64}, num_key_value_heads=2)
    assert_as_eager(LlamaForCausalLM, config, {"input_ids": tokens(), "attention_mask": padding}, padding)


def test_a_sliding_window() -> None:
    config = MistralConfig(**TEXT, num_key_value_heads=1, sliding_window=4)
    assert_as_eager(MistralForCausalLM, config, {"input_ids": tokens(), "attention_mask": RIGHT}, RIGHT)


def test_vit() -> None:
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    assert_as_eager(ViTModel, ViTConfig(**SMALL, image_size=8, patch_size=2), {"pixel_values": pixels})


def test_generation_with_a_cache() -> None:
    config = LlamaConfig(**TEXT, num_key_value_heads=1)
    generated = []
    for name in ("eager", transformers_attention.NAME):
        model = make(LlamaForCausalLM, config, name)
        generated.append(
            model.generate(tokens(), attention_mask=LEFT, max_new_tokens=5, do_sample=False, pad_token_id=0)
        )
    assert torch.equal(*generated)


def test_a_dense_mask_from_the_user_is_translated_once() -> None:
    visible = torch.ones(5, 5).tril().bool().expand(2, 1, 5, 5).contiguous()
    first = transformers_masks.mask_of_user(visible)
    assert transformers_masks.mask_of_user(visible) is first
    assert torch.equal(first.to_dense(), visible[:, 0])
    with pytest.raises(InputError, match="attention_mask must be two-dimensional, bool"):
        transformers_masks.mask_of_user(visible.float())


def test_masks_known_by_name_take_no_dense_detour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_masks, "sdpa_mask", None)
    assert transformers_attention.interval_mask(2, 11, 11).kind == "causal"
    mask = transformers_attention.interval_mask(2, 11, 11, attention_mask=LEFT.bool())
    expected = IntervalMask.causal(11).to_dense() & LEFT.bool()[:, None]
    assert torch.equal(mask.to_dense(), expected)
    decoding = transformers_attention.interval_mask(2, 1, 11, q_offset=10, attention_mask=LEFT.bool())
    assert torch.equal(decoding.to_dense(), LEFT.bool()[:, None])


def test_a_padding_mask_with_holes_is_still_right() -> None:
    holes = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 1, 0]]).bool()
    mask = transformers_attention.interval_mask(2, 5, 5, attention_mask=holes)
    assert torch.equal(mask.to_dense(), IntervalMask.causal(5).to_dense() & holes[:, None])


def test_a_model_that_needs_more_is_refused() -> None:
    query = torch.zeros(1, 2, 3, 16)
    with pytest.raises(InputError, match="has no softcap"):
        transformers_attention.attention(torch.nn.Module(), query, query, query, None, softcap=30.0)
