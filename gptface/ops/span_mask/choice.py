"""Which implementation the three functions of span masks run, and why."""

from __future__ import annotations

import functools

from gptface.ops import registry
from gptface.ops.native import cpu_kernel_missing, cuda_kernel_missing, warn_of_fallback
from gptface.ops.registry import Preference, register_implementation
from gptface.ops.tracing import constant_in_traces

__all__ = ["choose"]

for _operator, _what in (
    ("sample_span_mask", "one sample at a time in plain Python"),
    ("corrupt_tokens", "plain PyTorch"),
    ("mask_tokens", "first of the mask, then of the corruption"),
):
    register_implementation(_operator, "reference", lambda: None, f"the definition, {_what}")
    register_implementation(
        _operator, "cpu", functools.partial(cpu_kernel_missing, _operator), "C++, the batch in parallel threads"
    )
    register_implementation(
        _operator, "cuda", functools.partial(cuda_kernel_missing, _operator), "CUDA, the same header as the CPU's"
    )

# What impl="auto" takes, best first; each of the first two runs on a device of its own.
_PREFERENCES = (
    Preference("cpu", "the native library, which works where the inputs are"),
    Preference("cuda", "the native library, which works where the inputs are"),
    Preference("reference", "the only implementation without a native library"),
)
_MISSING = {"cpu": cpu_kernel_missing, "cuda": cuda_kernel_missing}


def _obstacle(operator: str, device_type: str, name: str) -> str | None:
    if name == "reference":
        return None
    return _MISSING[name](operator) if name == device_type else f"the inputs are on {device_type!r}"


@constant_in_traces
def choose(operator: str, impl: str, device_type: str) -> str:
    """Name of the implementation that runs on inputs of a device. Raises as :func:`gptface.ops.registry.choose`.

    That the reference had to stand in for a native kernel is said once in a process.
    """
    obstacle = functools.partial(_obstacle, operator, device_type)
    chosen, _ = registry.choose(operator, impl, _PREFERENCES, obstacle)
    if impl == "auto" and chosen == "reference":
        missing = obstacle(device_type) if device_type in _MISSING else None
        warn_of_fallback(missing or f"there is none for {device_type} devices")
    return chosen
