"""The adapter around models of several classes: what is trained, what stays; writing with a cache reads as training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from gptface.errors import InputError
from gptface.systems.facegpt.adapter import ConversationEncoder, FaceAdapter
from gptface.systems.facegpt.data.conversations import Conversation
from tests.systems.facegpt.adapter.bases import CLASSES, SMALL, base, head, picture, processor, tokenizer

SEES = ("llava", "qwen2_vl")


def adapter(kind: str, *, seed: int = 0, template: bool = False, **options: Any) -> FaceAdapter:
    """With LoRA and a face head that are not at their start, so that both are felt."""
    arguments = {name: options.pop(name) for name in ("spare", "dtype") if name in options}
    made = FaceAdapter(base(kind, seed=seed, **arguments), processor(kind, template=template), head(), **options)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name or name.startswith("head.last"):
                weight.copy_(0.3 * torch.randn(weight.shape, generator=draw))
    return made.eval()


def conversations(kind: str) -> tuple[list[Conversation], list[Any]]:
    sees = kind in SEES
    told = [
        Conversation.of("please make a face", "here is the face : <FACE> .", image=sees),
        Conversation.of("do you see a smile ?", "no"),
    ]
    return told, [picture() if sees else None, None]


def batch(made: FaceAdapter, kind: str, **options: Any) -> dict[str, Tensor]:
    return ConversationEncoder(made.processor, made.padding).batch(*conversations(kind), **options)


def prompts(made: FaceAdapter, kind: str) -> dict[str, Tensor]:
    pictures = [picture() if kind in SEES else None, None]
    return ConversationEncoder(made.processor, made.padding).prompts(["please make a face", "smile"], pictures)


@pytest.mark.parametrize("kind", CLASSES)
def test_without_training_the_base_says_what_it_said(kind: str) -> None:
    plain, ours = base(kind), FaceAdapter(base(kind), processor(kind), head())
    inputs = batch(ours, kind)
    inputs["input_ids"][inputs["input_ids"] == ours.number] = 9
    labels = inputs.pop("labels")
    found = ours(**inputs, labels=labels)
    wanted = plain(**inputs).logits[:, :-1][labels[:, 1:] != -100]
    assert len(wanted) == len(found.labels) == 8 + 2
    torch.testing.assert_close(found.logits[:, : wanted.shape[1]], wanted)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("spare", [0, 5])
def test_training_changes_head_rows_and_lora_alone(kind: str, spare: int) -> None:
    made = adapter(kind, spare=spare)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    optimiser = torch.optim.SGD(made.trainable_parameters(), lr=0.1)
    output = made.train()(**batch(made, kind))
    (torch.nn.functional.cross_entropy(output.logits, output.labels) + output.numbers.sum()).backward()
    optimiser.step()
    changed = {name for name, value in made.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name, weight in made.named_parameters() if weight.requires_grad}
    assert {name.split(".")[0] for name in changed} == {"head", "rows", "model"}
    assert all("lora_" in name for name in changed if name.startswith("model"))
    assert not any("vision" in name or "visual" in name for name in changed)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("template", [False, True])
def test_faces_written_with_a_cache_are_those_of_one_pass_over_prompt_and_answer(kind: str, template: bool) -> None:
    made = adapter(kind, template=template)
    inputs = prompts(made, kind)
    for options in ({"at_once": True}, {"at_once": False}, {"at_once": True, "num_beams": 2}):
        written = made.generate(**inputs, max_new_tokens=5, emission="forced", do_sample=False, **options)
        assert written.face_rows.tolist() == [0, 1]
        assert ((written.answers == made.number).sum(1) == 1).all()
        whole = dict(inputs, input_ids=torch.cat((inputs["input_ids"], written.answers), 1))
        more = torch.ones_like(written.answers)
        whole["attention_mask"] = torch.cat((inputs["attention_mask"], more), 1)
        if "mm_token_type_ids" in whole:
            whole["mm_token_type_ids"] = torch.cat((inputs["mm_token_type_ids"], 0 * more), 1)
        torch.testing.assert_close(written.numbers, made(**whole).numbers, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_answer_does_not_depend_on_what_pads_its_prompt(kind: str) -> None:
    made = adapter(kind)
    together = made.generate(**prompts(made, kind), max_new_tokens=5, emission="forced", do_sample=False)
    alone = ConversationEncoder(made.processor, made.padding).prompts(["smile"])
    alone = made.generate(**alone, max_new_tokens=5, emission="forced", do_sample=False)
    length = alone.answers.shape[1]
    assert together.answers[1, :length].tolist() == alone.answers[0].tolist()
    torch.testing.assert_close(together.numbers[1:], alone.numbers, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CLASSES)
def test_padding_left_and_right_give_the_same(kind: str) -> None:
    made = adapter(kind)
    right, left = (made(**batch(made, kind, left=side)) for side in (False, True))
    assert torch.equal(right.labels, left.labels) and torch.equal(right.label_rows, left.label_rows)
    torch.testing.assert_close(right.logits, left.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(right.numbers, left.numbers, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CLASSES)
def test_gradient_checkpointing_gives_the_same_gradients(kind: str) -> None:
    found = []
    for way in (None, {"use_reentrant": False}, {"use_reentrant": True}):
        made = adapter(kind, lora=None)
        if way is not None:
            made.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs=way)
        output = made.train()(**batch(made, kind))
        (output.logits.logsumexp(-1).sum() + output.numbers.sum()).backward()
        found.append(made.rows.input.grad)
    assert float(found[0].abs().max()) > 0
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@pytest.mark.parametrize("kind", CLASSES)
def test_bfloat16_bases_are_trained_in_float32(kind: str) -> None:
    made = adapter(kind, dtype=torch.bfloat16)
    assert {weight.dtype for weight in made.trainable_parameters()} == {torch.float32}
    output = made(**batch(made, kind))
    assert output.logits.dtype == torch.bfloat16 and output.numbers.dtype == torch.float32
    full = adapter(kind)(**batch(made, kind))
    torch.testing.assert_close(output.numbers, full.numbers, rtol=0.2, atol=0.1)
    written = made.generate(**prompts(made, kind), max_new_tokens=4, emission="forced")
    assert written.numbers.shape == (2, made.layout.size) and bool(written.numbers.isfinite().all())


OTHERS: dict[str, dict[str, Any]] = {
    "Mistral": {},
    "Qwen3Moe": {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "Gemma3Text": {"head_dim": 8},
    "GPTNeoX": {},
    "Cohere": {},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False, "dropout": 0.0},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_classes_read_and_write_alike(name: str) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    config = getattr(transformers, f"{name}Config")(**{**SMALL, "vocab_size": len(words), **OTHERS[name]})
    made = FaceAdapter(transformers.AutoModelForCausalLM.from_config(config).eval(), words, head())
    torch.nn.init.normal_(made.head.last.weight)
    right, left = (made(**batch(made, name, left=side)) for side in (False, True))
    torch.testing.assert_close(right.logits, left.logits, rtol=1e-4, atol=1e-5)
    inputs = prompts(made, name)
    written = made.generate(**inputs, max_new_tokens=4, emission="forced", at_once=True, do_sample=False)
    ids = torch.cat((inputs["input_ids"], written.answers), 1)
    mask = torch.cat((inputs["attention_mask"], torch.ones_like(written.answers)), 1)
    torch.testing.assert_close(written.numbers, made(ids, mask).numbers, rtol=1e-4, atol=1e-4)


def test_a_vocabulary_with_spare_rows_is_left_as_it_is_and_a_full_one_grows() -> None:
    assert adapter("llama", spare=5).base.config.vocab_size == len(tokenizer()) + 5
    assert adapter("llama").base.config.vocab_size == len(tokenizer()) + 1


def test_a_tied_base_has_one_row_that_reads_and_writes() -> None:
    made = adapter("tied", lora=None)
    assert made.rows.output is None and adapter("llama").rows.output is not None
    output = made(**batch(made, "tied"))
    whole = dict(batch(made, "tied"))
    labels = whole.pop("labels")
    states = made.base(**whole, output_hidden_states=True).hidden_states[-1]
    wanted = states[:, :-1][labels[:, 1:] != -100] @ made.rows.input
    torch.testing.assert_close(output.logits[:, made.number], wanted)


def test_a_head_with_a_bias_has_one_for_the_token() -> None:
    words = tokenizer()
    small = {**SMALL, "vocab_size": len(words)}
    made = FaceAdapter(transformers.PhiForCausalLM(transformers.PhiConfig(**small)).eval(), words, head(), lora=None)
    with torch.no_grad():
        before = made(**batch(made, "phi")).logits
        made.rows.bias += 2.0
        after = made(**batch(made, "phi")).logits
    torch.testing.assert_close(after[:, made.number], before[:, made.number] + 2.0)
    assert torch.equal(after[:, : made.number], before[:, : made.number])


def test_embeddings_that_are_scaled_scale_the_row() -> None:
    words = tokenizer()
    config = transformers.Gemma3TextConfig(**{**SMALL, "vocab_size": len(words), "head_dim": 8})
    made = FaceAdapter(transformers.Gemma3ForCausalLM(config).eval(), words, head(), lora=None)
    embedding = made.base.get_input_embeddings()
    with torch.no_grad():
        made.rows.input.copy_(embedding.weight[9])
    torch.testing.assert_close(embedding(torch.tensor([made.number])), embedding(torch.tensor([9])))


def test_an_untrained_token_is_as_likely_as_an_average_one() -> None:
    made = FaceAdapter(base("llama"), tokenizer(), head())
    logits = made(**batch(made, "llama")).logits[:, : len(made.tokenizer)]
    torch.testing.assert_close(logits[:, made.number], logits[:, : made.number].mean(1))


def test_faces_in_earlier_turns_of_a_prompt_are_not_taken_for_the_answers() -> None:
    made = adapter("llama")
    inputs = prompts(made, "llama")
    inputs["input_ids"][0, 5] = made.number
    written = made.generate(**inputs, max_new_tokens=4, emission="forced", num_beams=2, do_sample=False)
    assert written.face_rows.tolist() == [0, 1]
    free = made.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert len(free.numbers) == int((free.answers == made.number).sum())


def test_generating_leaves_a_training_adapter_training() -> None:
    made = adapter("llama").train()
    made.generate(**prompts(made, "llama"), max_new_tokens=2)
    assert made.training and made.base.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: FaceAdapter(torch.nn.Linear(2, 2), tokenizer(), head()), "Linear is no model of transformers"),
        (lambda: FaceAdapter(base("llama").model, tokenizer(), head()), "LlamaModel has no head over a vocabulary"),
        (lambda: FaceAdapter(base("llama"), tokenizer(), head(), lora=3), "lora: 3; allowed: a peft.LoraConfig"),
        (lambda: FaceAdapter(base("llama"), tokenizer(), head(), identity_modes=4), "identity_modes: 4"),
        (lambda: FaceAdapter(adapter("llama").base, tokenizer(), head()), "carries a peft adapter already"),
        (lambda: FaceAdapter(encoder_decoder(), tokenizer(), head()), "has an encoder and a decoder"),
        (lambda: FaceAdapter(of_another_tokenizer(), tokenizer(), head()), "id, 37, is the model's image_token"),
        (lambda: adapter("llama").generate(**batch_to_the_right()), "padded on the right"),
    ],
)
def test_what_cannot_be_adapted_is_refused(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        change()


def encoder_decoder() -> Any:
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 40}
    return transformers.BartForConditionalGeneration(transformers.BartConfig(**sizes, **heads))


def of_another_tokenizer() -> Any:
    other = base("llava", spare=5)
    other.config.image_token_index = other.config.image_token_id = len(tokenizer())
    return other


def batch_to_the_right() -> dict[str, Tensor]:
    return {"input_ids": torch.full((1, 3), 9), "attention_mask": torch.tensor([[1, 1, 0]])}
