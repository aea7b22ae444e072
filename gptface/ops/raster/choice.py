"""Which implementation a call of ``rasterize`` or ``interpolate`` runs, and why."""

from __future__ import annotations

from torch import Tensor

from gptface.ops import registry
from gptface.ops.registry import Preference, register_implementation

__all__ = ["choose"]

for _operator in ("rasterize", "interpolate"):
    register_implementation(_operator, "reference", lambda: None, "the definition in plain PyTorch")

# What impl="auto" takes, best first.
_PREFERENCES = (Preference("reference", "it takes every device and dtype"),)


def choose(operator: str, impl: str, *tensors: Tensor) -> str:
    """Name of the implementation that runs. Raises as :func:`gptface.ops.registry.choose`."""
    return registry.choose(operator, impl, _PREFERENCES, lambda name: None).implementation
