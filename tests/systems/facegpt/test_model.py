"""FaceGPT: packed and padded batches agree, a picture sees itself alone, decoding with a cache is decoding without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from gptface.errors import InputError
from gptface.systems import open_encoder
from gptface.systems.facegpt import ConversationTokens, FaceGPT, FaceGPTConfig, collate
from gptface.systems.facegpt.decoding import Emission, answer
from gptface.systems.facegpt.sequence import Encoded
from tests.systems.facegpt.small_parts import CONVERSATIONS, small_model, small_tokens

TOKENS = small_tokens()
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("stem", ["linear", "convolution", "residual"])
def test_packed_and_padded_batches_give_the_same(stem: str) -> None:
    model = small_model(TOKENS, stem=stem)
    encoded = [TOKENS.encode(conversation) for conversation in (*CONVERSATIONS, CONVERSATIONS[0])]
    packed, padded = (collate(encoded, IMAGES, TOKENS, packed=value) for value in (True, False))
    out, other = model(packed), model(padded)
    torch.testing.assert_close(out.numbers, other.numbers, atol=1e-5, rtol=1e-5)
    rows, others = out.hidden.flatten(0, 1)[packed.predicted_from], other.hidden.flatten(0, 1)[padded.predicted_from]
    torch.testing.assert_close(rows, others, atol=1e-5, rtol=1e-5)


def test_features_of_a_picture_are_its_states_in_a_conversation() -> None:
    model = small_model(TOKENS)
    batch = collate([TOKENS.encode(CONVERSATIONS[0])], IMAGES[:1], TOKENS)
    states = model(batch).hidden.flatten(0, 1)[batch.image_slots]
    torch.testing.assert_close(model.forward_features(IMAGES)[0], states, atol=1e-5, rtol=1e-5)


def test_words_see_no_later_words_and_faces_see_the_picture() -> None:
    model = small_model(TOKENS)
    encoded = TOKENS.encode(CONVERSATIONS[0])
    images = IMAGES[:1].clone().requires_grad_(True)
    batch = collate([encoded], images, TOKENS)
    out = model(batch)
    (to_picture,) = torch.autograd.grad(out.numbers.sum(), images, retain_graph=True)
    assert (to_picture != 0).float().mean() > 0.9
    changed = Encoded([*encoded.ids[:-1], TOKENS.ids["unk_token_id"]], encoded.spoken, encoded.image_start)
    again = model(collate([changed], images, TOKENS))
    torch.testing.assert_close(again.hidden[:, :-1], out.hidden[:, :-1])


def test_a_batch_without_pictures_and_faces_reaches_every_weight() -> None:
    model = small_model(TOKENS).train()
    out = model(collate([TOKENS.encode(CONVERSATIONS[2])], IMAGES[:0], TOKENS))
    (model.word_logits(out.hidden).sum() + out.numbers.sum()).backward()
    assert all(value.grad is not None for value in model.parameters())


def _slowly(model: FaceGPT, tokens: ConversationTokens, prompt: Encoded, images: torch.Tensor) -> list[int]:
    """Greedy decoding without a cache: the whole sequence again for every token."""
    ids: list[int] = []
    for _ in range(10):
        whole = Encoded([*prompt.ids, *ids], [False] * (len(prompt.ids) + len(ids)), prompt.image_start)
        logits = model.word_logits(model(collate([whole], images, tokens)).hidden[0, -1])
        logits[[token for token in tokens.structure() if token not in (3, tokens.ids["face_token_id"])]] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == tokens.ids["sep_token_id"]:
            break
    return ids


def test_decoding_with_a_cache_is_decoding_without() -> None:
    model = small_model(TOKENS)
    with torch.no_grad():
        model.token_embeddings.weight.normal_(std=1.0)  # so that other tokens come next than the last
    questions = (("Reconstruct this face.", True), ("Sculpt a man, please, now.", False))
    prompts = [TOKENS.prompt(question, image=image) for question, image in questions]
    together = answer(model, TOKENS, prompts, IMAGES[:1], max_new_tokens=10)
    for prompt, images, found in zip(prompts, (IMAGES[:1], IMAGES[:0]), together, strict=True):
        with torch.no_grad():
            expected = _slowly(model, TOKENS, prompt, images)
        assert len(set(expected)) > 1
        assert found.ids == [token for token in expected if token != TOKENS.ids["sep_token_id"]]


@pytest.mark.parametrize("emission", ["forced", "forbidden"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_emission_is_constrained(emission: Emission, temperature: float) -> None:
    model = small_model(TOKENS)
    prompts = [TOKENS.prompt("Sculpt a man.", image=False)] * 3
    face = TOKENS.ids["face_token_id"]
    answers = answer(model, TOKENS, prompts, IMAGES[:0], emission=emission, temperature=temperature, max_new_tokens=6)
    for found in answers:
        assert (face in found.ids) == (emission == "forced")
        assert found.numbers.shape == (found.ids.count(face), model.config.face_size)


@pytest.mark.parametrize("temperature", [1e-310, 1e-40, 1e300])
def test_temperatures_beyond_float32_draw_a_token(temperature: float) -> None:
    """Division by them once gave NaN for what is never drawn."""
    model = small_model(TOKENS)
    prompts = [TOKENS.prompt("Sculpt a man.", image=False)]
    (found,) = answer(model, TOKENS, prompts, IMAGES[:0], temperature=temperature, max_new_tokens=4)
    if temperature < 1:
        (likeliest,) = answer(model, TOKENS, prompts, IMAGES[:0], max_new_tokens=4)
        assert found.ids == likeliest.ids
    assert not set(found.ids) & (set(TOKENS.structure()) - {TOKENS.ids["face_token_id"]})


def test_a_face_is_the_one_of_the_whole_sequence() -> None:
    model = small_model(TOKENS)
    prompt = TOKENS.prompt("Reconstruct this face in 3D.", image=True)
    (found,) = answer(model, TOKENS, [prompt], IMAGES[:1], emission="forced", max_new_tokens=8)
    ids = [*prompt.ids, *found.ids]
    batch = collate([Encoded(ids, [False] * len(ids), prompt.image_start)], IMAGES[:1], TOKENS)
    torch.testing.assert_close(found.numbers, model(batch).numbers, atol=1e-5, rtol=1e-5)


def test_saved_and_loaded_in_every_way(tmp_path: Path) -> None:
    model = small_model(TOKENS)
    model.save_pretrained(tmp_path)
    expected = model.forward_features(IMAGES)
    for loaded in (FaceGPT.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path), open_encoder(tmp_path)):
        torch.testing.assert_close(loaded.eval().forward_features(IMAGES), expected)


def test_a_configuration_that_fits_nothing_is_one_sentence() -> None:
    with pytest.raises(InputError, match="special tokens"):
        FaceGPTConfig.tiny(face_token_id=7)
    with pytest.raises(InputError, match="stem must be one of"):
        FaceGPTConfig.tiny(stem="deep")


def test_without_language_a_face_is_that_of_its_own_picture_whatever_is_said(tmp_path: Path) -> None:
    model = small_model(TOKENS, language=False)
    pictured, sculpted, plain = (TOKENS.encode(conversation) for conversation in CONVERSATIONS)
    several = [sculpted, pictured, plain, pictured]
    for packed in (True, False):
        numbers = model(collate(several, IMAGES, TOKENS, packed=packed)).numbers
        pooled = model.forward_features(IMAGES).mean(1)
        expected = model.numbers(torch.cat((torch.zeros_like(pooled[:1]), pooled)))
        torch.testing.assert_close(numbers, expected, atol=1e-5, rtol=1e-5)
    assert model(collate([sculpted], IMAGES[:0], TOKENS)).numbers.shape == (1, model.config.face_size)
    assert model(collate([plain], IMAGES[:0], TOKENS)).numbers.shape == (0, model.config.face_size)
    model.train()
    batch = collate(several, IMAGES, TOKENS)
    out = model(batch)
    (model.word_logits(out.hidden).sum() + out.numbers.sum()).backward()
    assert all(value.grad is not None for value in model.parameters())
    model.save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).config.language is False
    with pytest.raises(InputError, match="without language"):
        answer(model, TOKENS, [TOKENS.prompt("Who?", image=False)], IMAGES[:0])
    with pytest.raises(InputError, match="language must be true or false"):
        FaceGPTConfig.tiny(language="no")
