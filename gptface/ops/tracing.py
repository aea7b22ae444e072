"""What ``torch.compile`` need not trace: facts of the machine, which do not change while a process lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["constant_in_traces"]

F = TypeVar("F", bound=Callable[..., Any])


def constant_in_traces(function: F) -> F:
    """Decorate a function of plain arguments that compiled code calls once, as it is traced, and never again.

    What ``torch.compiler.assume_constant_result`` does, without its import of the whole compiler (and of triton) just
    because somebody imported the operators.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
