"""The head that turns the hidden state at ``<FACE>`` into the numbers of a face."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FaceHead"]

START_DEVIATION = 1e-3
"""Of the last layer's weights: training starts at the neutral portrait, and yet every weight has a gradient."""


class FaceHead(nn.Module):
    """Linear, GELU, linear: from a hidden state to the numbers that :class:`FaceLayout` reads.

    Args:
        width: of the hidden states.
        size: how many numbers, ``FaceLayout.size``.
        hidden_size: width between the two layers; by default ``width``.
    """

    def __init__(self, width: int, size: int, hidden_size: int | None = None) -> None:
        super().__init__()
        hidden_size = width if hidden_size is None else hidden_size
        self.first = nn.Linear(width, hidden_size)
        self.last = nn.Linear(hidden_size, size)
        self.start()

    def start(self) -> None:
        """Give the last layer its first weights: almost 0."""
        nn.init.normal_(self.last.weight, std=START_DEVIATION)
        nn.init.zeros_(self.last.bias)

    def forward(self, states: Tensor) -> Tensor:
        """``states (F, width)`` to numbers ``(F, size)``."""
        return self.last(functional.gelu(self.first(states)))
