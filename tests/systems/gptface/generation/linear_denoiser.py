"""A denoiser whose answers can be computed by hand: fixed logits, and a matching score linear in the embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.systems.gptface.generation.denoiser import Denoised, JointState
from gptface.systems.gptface.generation.memory import Memory


class LinearDenoiser:
    """``log odds of a match = offset + Σ_l value_l · embedding_l``; logits do not depend on the tokens.

    Args:
        logits: ``(L, V)``; token V is the mask token.
        values: ``(L, C)``; the embedding table is drawn from ``seed``.
    """

    target = "image"
    forbidden = None

    def __init__(self, logits: Tensor, values: Tensor, offset: float = -10.0, seed: int = 0) -> None:
        self.table = torch.randn(
            logits.shape[1] + 1, values.shape[1], generator=torch.Generator().manual_seed(seed), dtype=logits.dtype
        )
        self.fixed, self.values, self.offset = logits, values, offset
        self.mask_token = self.image_mask_token = logits.shape[1]
        self.passes = 0

    def tokens(self, state: JointState) -> Tensor:
        return state.image_codes

    def with_tokens(self, state: JointState, tokens: Tensor) -> JointState:
        return JointState(state.text_ids, state.text_lengths, tokens)

    def __call__(self, state: JointState, embeddings: Tensor | None = None) -> Denoised:
        self.passes += len(state)
        embeddings = self.embed(state.image_codes) if embeddings is None else embeddings
        log_odds = self.offset + (embeddings * self.values).sum((1, 2))
        return Denoised(embeddings, torch.stack([torch.zeros_like(log_odds), log_odds], dim=1))

    def remembering(self, state: JointState, memory: Memory) -> Denoised:
        return self(state)

    def renewed(self, state: JointState, memory: Memory) -> Denoised:
        raise AssertionError("decoding by this denoiser asks for no reuse")

    def logits(self, denoised: Denoised, index: Tensor | None = None) -> Tensor:
        return self.fixed.expand(denoised.features.shape[0], -1, -1) if index is None else self.fixed[index]

    def embed(self, tokens: Tensor) -> Tensor:
        return self.table[tokens]

    def embedding_table(self) -> Tensor:
        return self.table[:-1]


def blank_state(batch: int, length: int) -> JointState:
    """``batch`` samples with a caption of one token and ``length`` image tokens 0."""
    return JointState(
        torch.ones(batch, 1, dtype=torch.int64),
        torch.ones(batch, dtype=torch.int64),
        torch.zeros(batch, length, dtype=torch.int64),
    )
