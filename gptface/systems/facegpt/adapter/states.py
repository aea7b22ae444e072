"""The last hidden states of any causal model: what its language head reads, caught on the way in."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch import Tensor, nn

__all__ = ["HeadStates"]


class HeadStates:
    """While entered, keeps what a language head is called with (``output_hidden_states`` would keep every layer).

    Args:
        head: the module that turns hidden states into logits.
        last: keep the state of the last position alone: all that is new where tokens come one by one.

    Attributes:
        calls: what each call brought, ``(B, S, C)``, or ``(B, C)`` of the last position; with their graphs.
        lengths: of each call, S.
    """

    def __init__(self, head: nn.Module, *, last: bool = False) -> None:
        self.calls: list[Tensor] = []
        self.lengths: list[int] = []
        self._head = head
        self._last = last

    def __enter__(self) -> HeadStates:
        self._hook = self._head.register_forward_pre_hook(self._keep, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hook.remove()

    def _keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states: Tensor = args[0] if args else kwargs["input"]
        self.lengths.append(states.shape[1])
        self.calls.append(states[:, -1] if self._last else states)
