"""``patch``: one line gives a model the attention, says what it changed, and refuses what it cannot do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from gptface.errors import InputError
from gptface.integrations import patch

SMALL: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
WORDS: dict[str, Any] = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PICTURES: dict[str, Any] = {"image_size": 32, "patch_size": 8}
BART: dict[str, Any] = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 96}
BART |= {"decoder_ffn_dim": 96, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "decoder_start_token_id": 2}
T5: dict[str, Any] = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 1, "num_heads": 4, "vocab_size": 60}
SWIN: dict[str, Any] = {"image_size": 32, "patch_size": 4, "window_size": 4}
TOWERS: dict[str, Any] = {"text_config": {**SMALL, **WORDS}, "vision_config": {**SMALL, **PICTURES}}
CONFIGURATIONS: dict[str, tuple[Any, int]] = {
    "Llama": (transformers.LlamaConfig(**SMALL, **WORDS, num_key_value_heads=2), 2),
    "Bert": (transformers.BertConfig(**SMALL, **WORDS), 2),
    "GPT2": (transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, **WORDS), 2),
    "Bart": (transformers.BartConfig(**BART, **WORDS), 1 + 2 * 2),
    "ViT": (transformers.ViTConfig(**SMALL, **PICTURES), 2),
    "CLIP": (transformers.CLIPConfig(**TOWERS, projection_dim=32), 4),
}


def made(configuration: Any, implementation: str = "sdpa") -> Any:
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(copy.deepcopy(configuration), attn_implementation=implementation).eval()


def inputs(model: Any) -> dict[str, Any]:
    words = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(1))
    padding = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    texts = {"input_ids": words, "attention_mask": padding}
    seen = {"pixel_values": pictures}
    return {"vit": seen, "clip": {**texts, **seen}}.get(model.config.model_type, texts)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_patched_model_gives_the_same(name: str) -> None:
    configuration, layers = CONFIGURATIONS[name]
    model = made(configuration)
    before = model(**inputs(model))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    told = patch(model)
    after = model(**inputs(model))
    seen = torch.ones(2, 9, dtype=torch.bool) if name in ("ViT", "CLIP") else inputs(model)["attention_mask"].bool()
    for field in ("last_hidden_state", "text_embeds", "image_embeds"):
        if hasattr(before, field) and getattr(before, field) is not None:
            ours, theirs = getattr(after, field), getattr(before, field)
            if field == "last_hidden_state" and name != "ViT":
                ours, theirs = ours[seen], theirs[seen]
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert len(told.layers) == layers and told.before == ("sdpa",) and not told.left
    assert str(told).startswith(f"{type(model).__name__}: {layers} attention layers, sdpa before, now gptface\n")
    assert model.config._attn_implementation == "gptface"
    told.undo()
    again = model(**inputs(model))
    torch.testing.assert_close(again[0], before[0], rtol=0, atol=0)


def test_the_attention_that_runs_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from gptface.integrations import transformers_attention

    calls: list[int] = []
    run = transformers_attention.masked_attention

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return run(*arguments, **options)

    monkeypatch.setattr(transformers_attention, "masked_attention", counted)
    for configuration, layers in CONFIGURATIONS.values():
        model = made(configuration)
        model(**inputs(model))
        assert not calls
        patch(model)
        model(**inputs(model))
        assert len(calls) == layers
        calls.clear()


@pytest.mark.parametrize(
    ("configuration", "sentence"),
    [
        (transformers.Gemma2Config(**SMALL, **WORDS, head_dim=16, num_key_value_heads=2), "has soft caps on scores"),
        (transformers.LlamaConfig(**SMALL, **WORDS, head_dim=320), "heads of 320 numbers, more than 256"),
        (transformers.BertConfig(**SMALL | {"hidden_size": 600, "num_attention_heads": 2}, **WORDS), "heads of 300"),
        (transformers.BeitConfig(**SMALL, **PICTURES, use_relative_position_bias=True), "has position biases"),
        (transformers.SwinConfig(embed_dim=16, depths=[1], num_heads=[2], **SWIN), "position biases|by itself|by name"),
        (transformers.Siglip2VisionConfig(**SMALL, patch_size=8), "makes masks of its own"),
        (transformers.T5Config(**T5), "T5Model does not look its attention up by name|has position biases"),
    ],
    ids=["Gemma2", "wide", "wide Bert", "Beit", "Swin", "Siglip2", "T5"],
)
def test_what_it_cannot_do_is_refused_and_the_model_stays(configuration: Any, sentence: str) -> None:
    model = made(configuration, "eager")
    with pytest.raises(InputError, match=sentence):
        patch(model)
    assert model.config._attn_implementation == "eager"


def test_layers_that_are_not_changed_are_not_counted() -> None:
    """Siglip's pooling is PyTorch's own attention."""
    model = made(transformers.SiglipVisionConfig(**SMALL, **PICTURES))
    assert len(patch(model).layers) == 2


def test_a_model_whose_layers_keep_another_configuration_is_refused_and_stays() -> None:
    """Encoder and decoder of such a pair once stayed with sdpa and failed at the next call."""
    torch.manual_seed(0)
    parts = [
        transformers.BertModel(transformers.BertConfig(**SMALL, **WORDS)),
        transformers.BertLMHeadModel(
            transformers.BertConfig(**SMALL, **WORDS, is_decoder=True, add_cross_attention=True)
        ),
    ]
    model = transformers.EncoderDecoderModel(encoder=parts[0], decoder=parts[1]).eval()
    words = torch.randint(3, 60, (1, 5))
    before = model(input_ids=words, decoder_input_ids=words).logits
    try:
        patch(model)
    except InputError as error:
        assert "does not follow set_attn_implementation" in str(error)
    after = model(input_ids=words, decoder_input_ids=words).logits
    torch.testing.assert_close(after, before, atol=2e-5, rtol=1e-4)


def test_parts_of_two_implementations_go_back_to_them() -> None:
    model = made(CONFIGURATIONS["CLIP"][0])
    model.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    told = patch(model)
    assert sorted(told.before) == ["eager", "sdpa"]
    told.undo()
    assert model.config.text_config._attn_implementation == "eager"
    assert model.config.vision_config._attn_implementation == "sdpa"


def test_other_modules_are_refused() -> None:
    with pytest.raises(InputError, match="model: Linear; it must be a PreTrainedModel"):
        patch(nn.Linear(2, 2))  # type: ignore[arg-type]
