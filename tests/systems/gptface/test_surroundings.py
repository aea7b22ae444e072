"""What image tokens are told of their surroundings: who hears it, and of whom."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.systems.gptface import FaceLanguageConfig, FaceLanguageModel, Regime
from gptface.systems.gptface.sequence import JointSequence, SlotLayout, build_sequence

TEXT, CODES, GRID = 64, 32, (8, 8)
CONFIG = FaceLanguageConfig.tiny(
    text_vocab_size=TEXT,
    codebook_size=CODES,
    image_grid=list(GRID),
    max_text_length=6,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    surroundings_size=24,
    surroundings_rank=4,
)


def sequences(model: FaceLanguageModel, codes: Tensor, regime: Regime) -> JointSequence:
    text = torch.arange(5, 11).expand(len(codes), -1)
    return build_sequence(model.vocabulary, text, [6] * len(codes), codes, regime)


def told(model: FaceLanguageModel, codes: Tensor, regime: Regime) -> Tensor:
    """What each image token is told: (B, h, w, C)."""
    assert model.surroundings is not None
    sequence = sequences(model, codes, regime)
    embeddings = model.surroundings.token_embeddings(sequence.token_ids)
    layout = SlotLayout(sequence.position_ids, sequence.segment_ids, len(codes[0]), 9)
    return model.surroundings(layout.tokens(embeddings), sequence.regimes).unflatten(1, GRID)


def test_a_token_is_told_of_the_five_by_five_around_it() -> None:
    torch.manual_seed(0)
    model = FaceLanguageModel(CONFIG).eval()
    codes = torch.randint(0, CODES, (1, 64))
    changed = codes.clone()
    changed[0, 3 * 8 + 4] = (codes[0, 3 * 8 + 4] + 1) % CODES
    for regime in (Regime.MASKED, Regime.IMAGE_TO_TEXT):
        moved = (told(model, codes, regime) != told(model, changed, regime)).any(-1)[0]
        expected = torch.zeros(GRID, dtype=torch.bool)
        expected[1:6, 2:7] = True
        assert torch.equal(moved, expected)


def test_rows_that_predict_the_next_token_are_told_nothing() -> None:
    torch.manual_seed(0)
    model = FaceLanguageModel(CONFIG).eval()
    codes = torch.randint(0, CODES, (2, 64))
    assert not told(model, codes, Regime.TEXT_TO_IMAGE).any()
    sequence = sequences(model, codes, Regime.TEXT_TO_IMAGE)
    other = codes.clone()
    other[:, 40] = (other[:, 40] + 1) % CODES
    before = model.forward_sequence(sequence)
    after = model.forward_sequence(sequences(model, other, Regime.TEXT_TO_IMAGE))
    first = sequence.image_slots[:, 39]
    assert torch.equal(before[0, : first[0] + 1], after[0, : first[0] + 1])
    assert not torch.equal(before, after)


def test_soft_tokens_get_a_gradient_through_it() -> None:
    torch.manual_seed(0)
    model = FaceLanguageModel(CONFIG)
    sequence = sequences(model, torch.randint(0, CODES, (1, 64)), Regime.MASKED)
    soft = model.embed_tokens(sequence.token_ids).detach().requires_grad_()
    assert soft.shape[-1] == CONFIG.embedding_size == 32 + 4
    model.forward_sequence(sequence, soft)[0, 0, 0].backward()
    assert soft.grad is not None and soft.grad[0, sequence.image_slots[0], 32:].abs().sum(-1).all()
