"""The same transformer as its author would write it without this package: dense masks and torch's own attention.

It has the parameter names of ``gptface.systems.gptface.FaceLanguageModel``, so that both can work on one set of
weights, and the methods that the pre-training objective and the decoder call. The dense mask is made once a batch and
shared by all layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.systems.gptface import FaceLanguageConfig, JointSequence
from gptface.systems.gptface.sequence import JointVocabulary

__all__ = ["PlainFaceLanguage"]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        batch, slots, width = states.shape
        parts = self.query_key_value(states).view(batch, slots, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(mixed.transpose(1, 2).reshape(batch, slots, width))


class _Layer(nn.Module):
    def __init__(self, config: FaceLanguageConfig) -> None:
        super().__init__()
        width, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = _Attention(width, config.num_attention_heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.expand = nn.Linear(width, inner)
        self.contract = nn.Linear(inner, width)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        states = states + self.attention(self.attention_norm(states), mask)
        return states + self.contract(functional.gelu(self.expand(self.feed_forward_norm(states))))


class _TokenHead(nn.Module):
    def __init__(self, width: int, size: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        return functional.linear(self.norm(functional.gelu(self.dense(hidden))), embeddings, self.bias)


class _MatchHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.output = nn.Linear(width, 2)


class PlainFaceLanguage(nn.Module):
    """Plain PyTorch for the default options: no alignment towers, no shortcuts."""

    alignment = None

    def __init__(self, config: FaceLanguageConfig) -> None:
        super().__init__()
        self.config = config
        width, eps = config.hidden_size, config.layer_norm_eps
        height, columns = config.image_grid
        self.token_embeddings = nn.Embedding(config.vocabulary.size, width)
        self.text_positions = nn.Embedding(config.max_text_length + 2, width)
        self.image_positions = nn.ModuleDict(
            {"rows": nn.Embedding(height, width), "columns": nn.Embedding(columns, width)}
        )
        self.image_end = nn.Embedding(1, width)
        self.segment_embeddings = nn.Embedding(2, width)
        self.regime_embeddings = nn.Embedding(3, width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = nn.LayerNorm(width, eps=eps)
        self.text_head = _TokenHead(width, config.text_vocab_size, eps)
        self.image_head = _TokenHead(width, config.codebook_size, eps)
        self.match_head = _MatchHead(width)

    @property
    def vocabulary(self) -> JointVocabulary:
        return self.config.vocabulary

    @property
    def device(self) -> torch.device:
        return self.token_embeddings.weight.device

    def embed_tokens(self, token_ids: Tensor) -> Tensor:
        return self.token_embeddings(token_ids)

    def forward_sequence(
        self, sequence: JointSequence, inputs_embeds: Tensor | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """Hidden states ``(B, S, C)``, or those of the ``wanted (M,)`` slots alone: ``(M, C)``."""
        states = self.token_embeddings(sequence.token_ids) if inputs_embeds is None else inputs_embeds
        grid = self.image_positions["rows"].weight[:, None] + self.image_positions["columns"].weight[None]
        table = torch.cat([self.text_positions.weight, grid.flatten(0, 1), self.image_end.weight])
        is_image = sequence.segment_ids == 1
        positions = sequence.position_ids + is_image * len(self.text_positions.weight)
        states = states + functional.embedding(positions, table) + self.segment_embeddings(sequence.segment_ids)
        states = states + self.regime_embeddings(sequence.regimes).unsqueeze(1)
        mask = _dense_mask(sequence)
        for layer in self.layers:
            states = layer(states, mask)
        if wanted is not None:
            states = states.flatten(0, 1).index_select(0, wanted.clamp_min(0))
        return self.final_norm(states)

    def text_logits(self, hidden: Tensor) -> Tensor:
        return self.text_head(hidden, self.token_embeddings.weight[: self.config.text_vocab_size])

    def image_logits(self, hidden: Tensor) -> Tensor:
        first = self.config.text_vocab_size
        return self.image_head(hidden, self.token_embeddings.weight[first : first + self.config.codebook_size])

    def match_logits(self, hidden: Tensor) -> Tensor:
        return self.match_head.output(torch.tanh(self.match_head.dense(hidden[:, 0])))


def _dense_mask(sequence: JointSequence) -> Tensor:
    """``(B, 1, S, S)`` bool from regimes and lengths. Padding rows see what is valid, so that none is empty."""
    slots = sequence.token_ids.shape[1]
    row = torch.arange(slots, device=sequence.token_ids.device).view(1, -1, 1)
    key = row.view(1, 1, -1)
    length = sequence.lengths.view(-1, 1, 1)
    images = sequence.image_slots.shape[1]
    to_text, to_image = (sequence.regimes == 2).view(-1, 1, 1), (sequence.regimes == 1).view(-1, 1, 1)
    # [CLS] image [SEP], or [CLS] text [SEP]; all of the sample where it is bidirectional.
    prefix = torch.where(to_text, images + 2, torch.where(to_image, length - images - 1, length))
    return ((key < length) & ((key < prefix) | (key <= row))).unsqueeze(1)
