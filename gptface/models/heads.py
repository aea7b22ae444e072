"""Heads that read a transformer's hidden states: the tokens of a vocabulary, and whether picture and caption match."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MatchHead", "TokenHead"]


class TokenHead(nn.Module):
    """Logits over one modality's tokens: dense, GELU, layer normalisation, then a product with the tokens' embeddings.

    Args:
        hidden_size: width ``C`` of the hidden states.
        size: number of tokens to choose from.
        eps: of the normalisation.
    """

    def __init__(self, hidden_size: int, size: int, *, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=eps)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """``hidden (..., C)`` and the tokens' input ``embeddings (size, C)`` to logits ``(..., size)``."""
        features = self.norm(functional.gelu(self.dense(hidden)))
        return functional.linear(features, embeddings, self.bias)


class MatchHead(nn.Module):
    """Two-way logits from the hidden state of ``[CLS]``: dense, tanh, linear. Class 1 means "they match"."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, 2)

    def forward(self, hidden: Tensor) -> Tensor:
        """``hidden (B, S, C)`` to ``(B, 2)``."""
        return self.output(torch.tanh(self.dense(hidden[:, 0])))
