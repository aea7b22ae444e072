"""Exponential moving average of a module's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]


class MovingAverage:
    """``average ← d·average + (1 − d)·weights`` after every step; ``d = min(decay, (1 + n) / (10 + n))`` at update n.

    The early, smaller decay lets the random initialisation be forgotten. Only trained parameters are averaged; whatever
    else the module holds (a codebook that is its own moving average, say) is taken as it is.

    Args:
        decay: 0 switches averaging off: the module's own weights are used.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        parameters = [(name, value) for name, value in module.named_parameters() if value.requires_grad]
        self._names = [name for name, _ in parameters] if decay > 0 else []
        self._weights: list[Tensor] = [value for _, value in parameters] if decay > 0 else []
        self._averages = [value.detach().clone() for value in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        if self._averages:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module computes with the averages inside the ``with``, and with its own weights again after it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, weight in zip(self._averages, self._weights, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, object]:
        return {"updates": self.updates, "averages": dict(zip(self._names, self._averages, strict=True))}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, object]) -> None:
        averages = state["averages"]
        assert isinstance(averages, dict) and isinstance(state["updates"], int)
        self.updates = state["updates"]
        for name, own in zip(self._names, self._averages, strict=True):
            value = averages[name]
            assert isinstance(value, Tensor)
            own.copy_(value)
