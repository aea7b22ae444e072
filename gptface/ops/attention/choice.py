"""Which implementation a call of :func:`~gptface.ops.attention.masked_attention` runs, and why."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.ops import registry
from gptface.ops.attention import sdpa, triton_operator
from gptface.ops.attention.arguments import checked_arguments
from gptface.ops.attention.cpu_table import CpuCall
from gptface.ops.attention.cpu_table import preferences as cpu_preferences
from gptface.ops.attention.mask import IntervalMask
from gptface.ops.cpu_class import OTHER, cpu_class
from gptface.ops.derivatives import may_be_differentiated
from gptface.ops.native import cpu_kernel_missing
from gptface.ops.registry import Preference, register_implementation
from gptface.ops.tracing import constant_in_traces

__all__ = ["Choice", "choose", "explain"]

register_implementation(
    "masked_attention", "reference", lambda: None, "plain PyTorch by definition, every score in memory"
)


@constant_in_traces
@functools.cache
def _cpu_missing() -> str | None:
    return cpu_kernel_missing("masked_attention")


register_implementation(
    "masked_attention",
    "cpu",
    _cpu_missing,
    "C++ tiles that skip what the mask hides, in the best instruction set of the machine",
)

Obstacle = Callable[[str], "str | None"]

# What impl="auto" takes elsewhere than on a processor (cpu_table.py), best first. What of it is measured, and what is
# not, stands in docs/performance/attention.md.
_FASTEST = "the fastest implementation that supports these arguments"
_TRITON_SKIPS = Preference("triton", "the only one here that skips what the mask hides")
_TRITON = Preference("triton", _FASTEST)
_SDPA = Preference("sdpa", _FASTEST)
_REFERENCE = Preference("reference", "the only implementation that supports these arguments")

_GENERAL = (_TRITON_SKIPS, _SDPA, _REFERENCE)  # a mask that is neither full nor causal
_FULL_OR_CAUSAL = (_SDPA, _TRITON, _REFERENCE)  # torch's kernels need no dense mask


@dataclass(frozen=True)
class Choice:
    """Which implementation a call runs. Printed, it says so in a line, and in a second one what was ruled out and why.

    Attributes:
        implementation: its name, as ``impl=`` takes it.
        reason: why this one.
        unsupported: ``(name, reason)`` of each implementation that cannot run this call.
    """

    implementation: str
    reason: str
    unsupported: tuple[tuple[str, str], ...]

    @property
    def skips_hidden(self) -> bool:
        """Whether its work is what the mask shows; the other implementations compute every score."""
        return self.implementation in ("cpu", "triton")

    def __str__(self) -> str:
        ruled_out = ", ".join(f"not {name} ({why})" for name, why in self.unsupported)
        return f"{self.implementation}, {self.reason}" + (f"\n    {ruled_out}" if ruled_out else "")


@constant_in_traces
def _cpu_class_name() -> str:
    """Of this machine; the cautious one where there are no kernels to choose."""
    return OTHER.name if _cpu_missing() is not None else cpu_class().name


def _cpu_unsupported(query: Tensor) -> str | None:
    if not query.is_cpu:
        return f"the inputs are on {query.device.type!r}"
    if query.dtype == torch.float64:
        return "float64 is for the reference"
    return _cpu_missing()


def choose(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: IntervalMask | None,
    scale: float | None,
    dropout_p: float,
    deterministic: bool,
    return_lse: bool,
    impl: str,
) -> tuple[Preference, Obstacle]:
    """The implementation that a call with checked arguments runs, and what stands in the way of the others.

    Raises: as :func:`gptface.ops.registry.choose`.
    """

    def obstacle(name: str) -> str | None:
        if name == "cpu":
            return _cpu_unsupported(query)
        if name == "sdpa":
            return sdpa.unsupported(query, key, scale, dropout_p, deterministic, return_lse)
        return triton_operator.unsupported(query) if name == "triton" else None

    kind = "full" if mask is None else mask.kind
    preferences: tuple[Preference, ...] = _GENERAL if kind == "general" else _FULL_OR_CAUSAL
    device = None
    if not query.is_cpu:
        device = query.device.index
    elif impl == "auto":
        _, queries, _, width = query.shape
        call = CpuCall(
            query.dtype, kind, queries, key.shape[1], width, may_be_differentiated(query, key, value)
        )
        preferences = cpu_preferences(_cpu_class_name(), call)
    return registry.choose("masked_attention", impl, preferences, obstacle, device), obstacle


def explain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: IntervalMask | None = None,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | Tensor | None = None,
    deterministic: bool = False,
    return_lse: bool = False,
    impl: str = "auto",
) -> Choice:
    """Which implementation :func:`masked_attention` would run with these arguments, and why. Computes nothing.

    Raises: whatever the call itself would raise for its arguments.
    """
    query, key, value = checked_arguments(query, key, value, mask, scale, dropout_p, seed)
    chosen, obstacle = choose(query, key, value, mask, scale, dropout_p, deterministic, return_lse, impl)
    device = query.device.index
    others = [
        (name, registry.ruled_out("masked_attention", name, obstacle, device)) for name in ("sdpa", "cpu", "triton")
    ]
    unsupported = tuple((name, why) for name, why in others if why is not None and name != chosen.implementation)
    return Choice(chosen.implementation, chosen.reason, unsupported)
