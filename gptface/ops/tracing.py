"""What ``torch.compile`` need not trace: facts of the machine, which do not change while a process lives."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["constant_in_traces"]

F = TypeVar("F", bound=Callable[..., Any])


def constant_in_traces(function: F) -> F:
    """Decorate a function of plain arguments that compiled code calls once, as it is traced, and never again.

    What ``torch.compiler.assume_constant_result`` does, without its import of the whole compiler (and of triton) just
    because somebody imported the operators. The compiler looks through the wrapper of ``functools.cache``; over one
    this makes a function that it does not look through.
    """
    marked: Any = function
    if not isinstance(function, types.FunctionType):

        @functools.wraps(function)
        def plain(*arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options)

        marked = plain
        marked.cache_clear = function.cache_clear  # type: ignore[attr-defined]
    marked._dynamo_marked_constant = True
    return marked
