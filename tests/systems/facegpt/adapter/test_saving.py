"""Adapters as folders: the same answers after loading, nothing of the base copied, and nothing taken for another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from gptface.errors import InputError
from gptface.morphable import MorphableModel
from gptface.systems.facegpt import morphable_reference
from gptface.systems.facegpt.adapter import FaceAdapter, is_adapter, load_adapter, save_adapter
from tests.systems.facegpt.adapter.bases import CLASSES, base, head, processor
from tests.systems.facegpt.adapter.test_model import adapter, batch, prompts


@pytest.fixture(autouse=True)
def ball_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which morphable model it is matters not here: a ball goes by the names of the heads that are built in."""
    monkeypatch.setattr(morphable_reference, "load_morphable_model", lambda name: head(4 if name == "anny" else 3))


def trained(kind: str, **options: Any) -> FaceAdapter:
    made = adapter(kind, **options)
    with torch.no_grad():
        for weight in made.rows.parameters():
            weight.add_(0.1)
    return made


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("spare", [0, 5])
def test_a_loaded_adapter_says_the_same(kind: str, spare: int, tmp_path: Path) -> None:
    made = trained(kind, spare=spare)
    save_adapter(made, tmp_path / "adapter", "synthetic")
    reader = processor(kind) if kind == "qwen2_vl" else None  # whose processor needs torchvision to be loaded
    found = load_adapter(tmp_path / "adapter", base(kind, spare=spare), processor=reader)
    assert found.number == made.number and not found.training
    for one, other in zip(made.trainable_parameters(), found.trainable_parameters(), strict=True):
        assert torch.equal(one, other)
    inputs = prompts(found, kind)
    options = {"max_new_tokens": 5, "emission": "forced", "do_sample": False}
    one, other = (each.generate(**inputs, **options) for each in (made, found))
    assert torch.equal(one.answers, other.answers) and torch.equal(one.numbers, other.numbers)


def test_nothing_of_the_base_is_copied_and_peft_reads_its_part(tmp_path: Path) -> None:
    made = trained("llava")
    save_adapter(made, tmp_path / "adapter", "synthetic")
    names = set(load_file(tmp_path / "adapter" / "lora" / "adapter_model.safetensors"))
    assert names and all("lora_" in name for name in names)
    assert set(load_file(tmp_path / "adapter" / "face.safetensors")) == {
        "rows.input", "rows.output", "head.first.weight", "head.first.bias", "head.last.weight", "head.last.bias"
    }  # fmt: skip
    plain = peft.PeftModel.from_pretrained(base("llava"), str(tmp_path / "adapter" / "lora"))
    inputs = batch(made, "llava")
    inputs["input_ids"][inputs["input_ids"] == made.number] = 9
    labels = inputs.pop("labels")
    wanted = plain(**inputs).logits[:, :-1][labels[:, 1:] != -100]
    torch.testing.assert_close(made(**inputs, labels=labels).logits[:, : wanted.shape[1]], wanted)


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["q_proj", "lm_head", "embed_tokens"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
)
def test_a_lora_around_embedding_and_head_leaves_the_tokens_rows_outside(lora: dict[str, Any], tmp_path: Path) -> None:
    made = adapter("llama", lora=peft.LoraConfig(r=2, **lora))
    optimiser = torch.optim.SGD(made.trainable_parameters(), lr=0.5)
    made(**batch(made, "llama")).logits.square().mean().backward()
    assert all(row.grad is not None and float(row.grad.abs().max()) > 0 for row in made.rows.parameters())
    optimiser.step()
    save_adapter(made, tmp_path / "adapter", "synthetic")
    found = load_adapter(tmp_path / "adapter", base("llama"))
    one, other = (each(**batch(each, "llama")) for each in (made, found))
    assert torch.equal(one.logits, other.logits) and torch.equal(one.numbers, other.numbers)


def test_without_lora_there_is_none_in_the_folder(tmp_path: Path) -> None:
    save_adapter(trained("llama", lora=None), tmp_path / "adapter", "synthetic")
    assert is_adapter(tmp_path / "adapter") and not (tmp_path / "adapter" / "lora").exists()
    assert not load_adapter(tmp_path / "adapter", base("llama")).has_lora


def test_the_base_is_found_where_it_was_and_where_it_is_said_to_be(tmp_path: Path) -> None:
    base("llama").save_pretrained(tmp_path / "base")
    plain = type(base("llama")).from_pretrained(tmp_path / "base")
    made = FaceAdapter(plain, processor("llama"), head(), identity_modes=2, head_size=5)
    save_adapter(made, tmp_path / "adapter", "synthetic")
    found = load_adapter(tmp_path / "adapter")
    assert found.layout.size == made.layout.size and torch.equal(found.head.first.weight, made.head.first.weight)
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="cannot be loaded as a LlamaForCausalLM"):
        load_adapter(tmp_path / "adapter")
    again = load_adapter(tmp_path / "adapter", tmp_path / "moved", dtype=torch.bfloat16)
    assert again.base.dtype == torch.bfloat16 and again.head.first.weight.dtype == torch.float32
    save_adapter(again, tmp_path / "again")
    assert is_adapter(tmp_path / "again")


def test_a_loaded_adapter_can_be_trained_further(tmp_path: Path) -> None:
    made = trained("llama")
    save_adapter(made, tmp_path / "adapter", "synthetic")
    found = load_adapter(tmp_path / "adapter", base("llama"))
    names = {name for name, weight in found.named_parameters() if weight.requires_grad}
    assert names == {name for name, weight in made.named_parameters() if weight.requires_grad}
    found.train()(**batch(found, "llama")).logits.sum().backward()
    assert all(weight.grad is not None for name, weight in found.named_parameters() if "lora_" in name)


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        settings = json.loads((folder / "adapter.json").read_text())
        change(settings)
        (folder / "adapter.json").write_text(json.dumps(settings))

    return apply


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:60])


def without_one_tensor(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / name)
        del tensors[min(tensors)]
        save_file(tensors, folder / name)

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "adapter.json").unlink(), "so it holds no adapter"),
        (lambda folder: (folder / "adapter.json").write_text("[]"), "adapter.json: is damaged"),
        (rewritten(lambda settings: settings.pop("number")), "is damaged .KeyError: 'number'"),
        (rewritten(lambda settings: settings.update(format=2)), "is of format 2; this version reads 1"),
        (rewritten(lambda settings: settings.update(number=36)), "has the id 37 in it, but 36 in the adapter"),
        (cut("face.safetensors"), "face.safetensors: cannot be read"),
        (cut("lora/adapter_model.safetensors"), "does not hold a LoRA for LlamaForCausalLM"),
        (cut("lora/adapter_config.json"), "does not hold a LoRA for LlamaForCausalLM"),
        (without_one_tensor("face.safetensors"), "face.safetensors: does not fit: Missing key"),
        (without_one_tensor("lora/adapter_model.safetensors"), "does not hold a LoRA for LlamaForCausalLM"),
        (cut("processor/tokenizer.json"), "holds no tokenizer that can be loaded"),
        (lambda folder: (folder / "morphable.json").unlink(), "morphable.json: does not say which morphable model"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence(damage: Any, message: str, tmp_path: Path) -> None:
    save_adapter(trained("llama"), tmp_path / "adapter", "synthetic")
    damage(tmp_path / "adapter")
    with pytest.raises(InputError, match=message) as caught:
        load_adapter(tmp_path / "adapter", base("llama"))
    assert "\n" not in str(caught.value)


def test_what_the_adapter_was_not_trained_beside_is_refused(tmp_path: Path) -> None:
    save_adapter(trained("llama"), tmp_path / "adapter", "synthetic")
    for other, message in (
        (base("tied"), "embedding and head are one and the same"),
        (base("llama", seed=1), "has other weights"),
        (base("llama", spare=1), "its vocabulary is 38; in the adapter's training it was 37"),
        (base("gpt2"), "its class is GPT2LMHeadModel"),
    ):
        with pytest.raises(InputError, match=message):
            load_adapter(tmp_path / "adapter", other)
    with pytest.raises(InputError, match="is not the morphable model that this system was trained with"):
        load_adapter(tmp_path / "adapter", base("llama"), morphable="anny")
    with pytest.raises(InputError, match="came from no file; give the model itself"):
        load_adapter(tmp_path / "adapter")
    with pytest.raises(InputError, match="there is no such folder"):
        load_adapter(tmp_path / "nowhere", base("llama"))


def test_a_model_in_memory_has_to_be_named_to_be_saved(tmp_path: Path) -> None:
    made = trained("llama")
    assert isinstance(made.morphable, MorphableModel)
    with pytest.raises(InputError, match="morphable: the adapter was made with a model in memory"):
        save_adapter(made, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
