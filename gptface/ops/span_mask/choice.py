"""Which implementation the three functions of span masks run, and why."""

from __future__ import annotations

import functools

from gptface.ops import proofs, registry
from gptface.ops.native import cpu_kernel_missing, cuda_kernel_missing, warn_of_fallback
from gptface.ops.registry import Preference, register_implementation
from gptface.ops.tracing import constant_in_traces

__all__ = ["choose", "kernel"]


def _host_missing(operator: str) -> str | None:
    return cpu_kernel_missing(operator) or proofs.missing_here()


for _operator, _what in (
    ("sample_span_mask", "one sample at a time in plain Python"),
    ("corrupt_tokens", "plain PyTorch"),
    ("mask_tokens", "first of the mask, then of the corruption"),
):
    register_implementation(_operator, "reference", lambda: None, f"the definition, {_what}")
    _probe = functools.partial(cpu_kernel_missing, _operator)
    register_implementation(_operator, "cpu", _probe, "C++, the batch in parallel threads")
    register_implementation(
        _operator, "cuda", functools.partial(cuda_kernel_missing, _operator), "CUDA, the same header as the CPU's",
        proof="span_mask.cuda",
    )  # fmt: skip
    register_implementation(
        _operator, "host", functools.partial(_host_missing, _operator),
        "the C++ of the CPU on copies of a GPU's inputs; it waits for them",
    )  # fmt: skip

# What impl="auto" takes, best first, of what can run the call and is proven on its device.
_PREFERENCES = (
    Preference("cpu", "the native library, which works where the inputs are"),
    Preference("cuda", "the native library, which works where the inputs are"),
    Preference("host", "no CUDA kernel that is proven on this GPU"),
    Preference("reference", "the only implementation without a native library"),
)


def _obstacle(operator: str, device_type: str, name: str) -> str | None:
    if name == "reference":
        return None
    if name == "host":
        return cpu_kernel_missing(operator) if device_type == "cuda" else "it is for inputs on a GPU"
    if name != device_type:
        return f"the inputs are on {device_type!r}"
    return cpu_kernel_missing(operator) if name == "cpu" else cuda_kernel_missing(operator)


@constant_in_traces
def choose(operator: str, impl: str, device_type: str, device_index: int | None = None) -> str:
    """Name of the implementation that runs on inputs of a device. Raises as :func:`gptface.ops.registry.choose`.

    That the reference had to stand in for a native kernel is said once in a process.
    """
    obstacle = functools.partial(_obstacle, operator, device_type)
    chosen, _ = registry.choose(operator, impl, _PREFERENCES, obstacle, device_index)
    if impl == "auto" and chosen in ("reference", "host"):
        missing = cpu_kernel_missing(operator)
        if device_type == "cuda":
            missing = cuda_kernel_missing(operator)
        elif device_type != "cpu":
            missing = f"there is none for {device_type} devices"
        if missing is not None:
            warn_of_fallback(missing)
    return chosen


def kernel(operator: str, impl: str, device_type: str, device_index: int | None = None) -> str:
    """Name of the torch operator that runs: see ``library``. Arguments and errors as :func:`choose`."""
    chosen = choose(operator, impl, device_type, device_index)
    return f"{operator}_{chosen}" if chosen in ("reference", "host") else operator
