"""Emission of ``<FACE>``: counted by what was asked; general losses compared token by token."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.systems.facegpt import ConversationTokens, FaceGPTSystem, collate
from gptface.systems.facegpt.evaluation.answers import spoken_losses
from gptface.systems.facegpt.evaluation.emission import (
    compare_general_losses,
    emission_lines,
    general_lines,
    measure_emission,
)
from tests.systems.facegpt.small_parts import CONVERSATIONS, PICTURED, PLAIN, SCULPTED
from tests.systems.facegpt.small_system import small_system

PICTURES = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def system() -> FaceGPTSystem:
    return small_system()


def test_answers_are_counted_by_what_was_asked(system: FaceGPTSystem) -> None:
    asked = [PICTURED, PLAIN, SCULPTED, PICTURED]
    rows = measure_emission("random", system, asked, PICTURES)
    assert {row["emitted"]["n"] for row in rows if row["kind"] == "all"} == {3, 1}
    assert all(0 <= row["emitted"]["value"] <= 1 and row["examples"] for row in rows)
    assert len(emission_lines(rows)) == len(rows)


def test_a_system_that_always_says_face_is_caught(system: FaceGPTSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    face = system.model.config.face_token_id
    with torch.no_grad():
        bias = system.model.word_head.bias.clone()
        system.model.word_head.bias[face] = 100.0
        rows = measure_emission("eager", system, [PLAIN, SCULPTED], None)
        system.model.word_head.bias.copy_(bias)
    assert [row["emitted"]["value"] for row in rows if row["kind"] == "all"] == [1.0, 1.0]
    assert all(row["once"]["value"] == 0 and row["ended"]["value"] == 0 for row in rows)


def test_losses_are_those_of_each_conversation_alone(system: FaceGPTSystem) -> None:
    conversations = [*CONVERSATIONS, PLAIN]
    sums, counts = spoken_losses(system, conversations, PICTURES[:1])
    for row, conversation in enumerate(conversations):
        images = torch.from_numpy(PICTURES[:1]).permute(0, 3, 1, 2).float() / 127.5 - 1
        batch = collate([system.tokens.encode(conversation)], images[: int(conversation.image)], system.tokens)
        logits = system.model.word_logits(system.model(batch).hidden.flatten(0, 1)[batch.predicted_from])
        expected = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum")
        assert sums[row] == pytest.approx(expected.item(), rel=1e-4) and counts[row] == len(batch.labels)


def test_general_losses_are_compared_with_a_model_of_the_same_tokens(system: FaceGPTSystem) -> None:
    other = copy.deepcopy(system.model)
    with torch.no_grad():
        other.word_head.bias.add_(torch.randn_like(other.word_head.bias))
    without = FaceGPTSystem(other, system.tokens, system.morphable)
    same, worse = compare_general_losses({"same": system, "other": without}, system, [PLAIN] * 3)
    assert same["ratio"]["value"] == pytest.approx(1) and worse["ratio"]["value"] > 1
    assert "ratio 1.000" in general_lines([same])[0]
    short = ConversationTokens(
        copy.deepcopy(system.tokens.tokenizer), num_patches=16, max_text_length=system.tokens.max_text_length
    )
    short.answer = lambda text: [short.ids["unk_token_id"]]  # type: ignore[method-assign]
    with pytest.raises(InputError, match="one tokenizer"):
        compare_general_losses({"other": FaceGPTSystem(other, short, system.morphable)}, system, [PLAIN])
    with pytest.raises(InputError, match="none to measure"):
        compare_general_losses({}, system, [])
