"""Which implementation a call of :func:`~gptface.ops.attention.masked_attention` runs, and why: a pure function."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.ops.attention import sdpa, triton_operator
from gptface.ops.attention.arguments import checked_arguments
from gptface.ops.attention.mask import IntervalMask
from gptface.ops.native import cpu_instruction_set, cpu_kernel_missing
from gptface.ops.registry import available_or_raise, register_implementation

__all__ = ["Choice", "choose", "explain"]

register_implementation(
    "masked_attention", "reference", lambda: None, "plain PyTorch by definition, every score in memory"
)


def _cpu_missing() -> str | None:
    return cpu_kernel_missing("masked_attention")


# What torch.compiler.assume_constant_result does, without its import of the whole compiler: a library that is there
# when a function is traced stays there.
_cpu_missing._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _instruction_set() -> str:
    return cpu_instruction_set()


_instruction_set._dynamo_marked_constant = True  # type: ignore[attr-defined]

register_implementation(
    "masked_attention",
    "cpu",
    _cpu_missing,
    "C++ tiles that skip what the mask hides, in the best instruction set of the machine",
)


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


def _cpu_unsupported(query: Tensor) -> str | None:
    if query.device.type != "cpu":
        return f"the inputs are on {query.device.type!r}"
    if query.dtype == torch.float64:
        return "float64 is for the reference"
    return _cpu_missing()


def _triton_obstacle(query: Tensor) -> str | None:
    """Why ``impl="auto"`` cannot take the Triton kernels."""
    return triton_operator.unsupported(query) or triton_operator.unproven()


def _named(impl: str, query: Tensor, unsupported_by_sdpa: str | None) -> tuple[str, str]:
    available_or_raise("masked_attention", impl)
    obstacle = None
    if impl == "sdpa":
        obstacle = unsupported_by_sdpa
    elif impl == "cpu":
        obstacle = _cpu_unsupported(query)
    elif impl == "triton":
        obstacle = triton_operator.unsupported(query)
    if obstacle is not None:
        raise RuntimeError(f"masked_attention: impl={impl!r} cannot run this call: {obstacle}")
    return impl, "asked for by name"


def _fastest(query: Tensor, mask: IntervalMask | None, unsupported_by_sdpa: str | None) -> tuple[str, str]:
    if _cpu_unsupported(query) is None:
        if mask is not None and mask.kind == "general":
            return "cpu", "the fastest implementation that supports these arguments: it skips what the mask hides"
        # Measured against torch without a mask and is_causal, see docs/performance/attention.md.
        hides = mask is not None and mask.kind == "causal"
        if not hides and unsupported_by_sdpa is None and _instruction_set() == "portable":
            return "sdpa", "the fastest where nothing is hidden and the CPU kernels are portable code"
        return "cpu", "the fastest implementation that supports these arguments, with a full or causal mask too"
    if _triton_obstacle(query) is None:
        if mask is not None and mask.kind == "general":
            return "triton", "the only one here that skips what the mask hides"
        if unsupported_by_sdpa is not None:
            return "triton", "the fastest implementation that supports these arguments"
    if unsupported_by_sdpa is None:
        return "sdpa", "the fastest implementation that supports these arguments"
    return "reference", "the only implementation that supports these arguments"


def choose(
    query: Tensor,
    key: Tensor,
    mask: IntervalMask | None,
    scale: float | None,
    dropout_p: float,
    deterministic: bool,
    return_lse: bool,
    impl: str,
) -> tuple[str, str, str | None]:
    """Name of the implementation, why, and why not torch's own, for checked arguments.

    Raises: ``ValueError`` for an unknown ``impl``, ``RuntimeError`` for one that cannot run this call.
    """
    obstacle = sdpa.unsupported(query, key, scale, dropout_p, deterministic, return_lse)
    name, reason = _fastest(query, mask, obstacle) if impl == "auto" else _named(impl, query, obstacle)
    return name, reason, obstacle


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
    name, reason, by_sdpa = choose(query, key, mask, scale, dropout_p, deterministic, return_lse, impl)
    obstacles = (("sdpa", by_sdpa), ("cpu", _cpu_unsupported(query)), ("triton", _triton_obstacle(query)))
    return Choice(name, reason, tuple((other, why) for other, why in obstacles if why is not None and other != name))
