"""One pre-LN transformer layer whose attention runs under an interval mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention import explain

__all__ = ["KeyValueCache", "ResidualProjection", "SelfAttention", "TransformerLayer", "transformer_layers"]


class ResidualProjection(nn.Linear):
    """A linear map whose output is added to the residual stream; models start it smaller, the deeper they are (GPT-2).

    It is a class of its own so that a model's ``_init_weights`` can tell it from other linear maps.
    """


class KeyValueCache:
    """Keys and values of one layer of slots already seen, so that a text grows by one token at the cost of one.

    Args:
        capacity: slots at most.

    Attributes:
        places: int64 ``(B, S)``, where the keys of the next S slots go, in each sample's own row.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.places: Tensor | None = None
        self._held: tuple[Tensor, Tensor] | None = None

    def extended(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values ``(B, capacity, H, D)``, those of the new slots ``(B, S, H, D)`` at their places."""
        assert self.places is not None
        if self._held is None:
            # What is not written yet is hidden by the mask; it must be finite all the same.
            shape = (key.shape[0], self.capacity, *key.shape[2:])
            self._held = key.new_zeros(shape), value.new_zeros(shape)
        index = self.places[:, :, None, None].expand_as(key)
        for held, new in zip(self._held, (key, value), strict=True):
            held.scatter_(1, index, new)
        return self._held


class SelfAttention(nn.Module):
    """Multi-head attention under an :class:`~gptface.ops.IntervalMask`.

    Args:
        width: of the states, ``C``.
        heads: how many; ``C / heads`` must be a multiple of 8 from 16 to 256.
        dropout: on the attention weights, in training.

    Attributes:
        impl: of :func:`~gptface.ops.masked_attention`.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.impl = "auto"
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = ResidualProjection(width, width)

    def forward(
        self, states: Tensor, mask: IntervalMask | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """``states (B, S, C)`` to ``(B, S, C)``; without a mask every slot sees every other.

        With a ``cache``, what was seen before is seen too: the mask is then ``(B, S, cache.capacity)``.
        """
        batch, slots, width = states.shape
        projected = self.query_key_value(states).view(batch, slots, 3, self.heads, width // self.heads)
        query, key, value = projected.unbind(2)
        if cache is not None:
            key, value = cache.extended(key, value)
        dropout_p = self.dropout if self.training else 0.0
        # The seed comes from torch's host generator: reproducible under manual_seed, and no device synchronisation.
        seed = int(torch.randint(2**62, (), device="cpu")) if dropout_p > 0 else None
        mixed = masked_attention(query, key, value, mask, dropout_p=dropout_p, seed=seed, impl=self.impl)
        return self.output(mixed.reshape(batch, slots, width))

    def skips_hidden(self) -> bool:
        """Whether the implementation that runs here computes nothing of what a mask hides."""
        weight = self.query_key_value.weight
        some = weight.new_empty(1, 1, self.heads, weight.shape[1] // self.heads)
        mask = IntervalMask(torch.zeros(1, 1, 1, 2, dtype=torch.int32, device=weight.device), 1)
        return explain(some, some, some, mask, impl=self.impl).skips_hidden


class TransformerLayer(GradientCheckpointingLayer):
    """Attention and feed-forward (GELU), each behind a layer normalisation, each added to the residual stream.

    Args:
        width: of the states, ``C``.
        heads: of the attention.
        intermediate_size: width of the feed-forward part.
        dropout: on the output of both parts.
        attention_dropout: on the attention weights.
        eps: of the layer normalisations.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        intermediate_size: int,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = SelfAttention(width, heads, dropout=attention_dropout)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.expand = nn.Linear(width, intermediate_size)
        self.contract = ResidualProjection(intermediate_size, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, states: Tensor, mask: IntervalMask | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """``states (B, S, C)`` to ``(B, S, C)``; for ``cache`` see :class:`SelfAttention`."""
        states = states + self.dropout(self.attention(self.attention_norm(states), mask, cache))
        inner = functional.gelu(self.expand(self.feed_forward_norm(states)))
        return states + self.dropout(self.contract(inner))


def transformer_layers(
    count: int, width: int, heads: int, intermediate_size: int, eps: float, *, dropout: float = 0.0
) -> nn.ModuleList:
    """``count`` layers of one shape."""
    return nn.ModuleList(
        TransformerLayer(width, heads, intermediate_size, eps=eps, dropout=dropout) for _ in range(count)
    )
