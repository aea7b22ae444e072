"""Which implementation a call of ``rasterize``, ``interpolate`` or ``antialias`` runs, and why."""

from __future__ import annotations

from torch import Tensor

from gptface.ops import registry
from gptface.ops.native import warn_without_cpu_kernel
from gptface.ops.raster import cpu, cuda
from gptface.ops.registry import Preference, register_implementation

__all__ = ["choose"]

for _operator, _what in (
    ("rasterize", "C++ in bins of tiles over threads, in the machine's best instruction set"),
    ("interpolate", "C++ over threads, in the machine's best instruction set"),
    ("antialias", "C++ over threads"),
):
    register_implementation(
        _operator, "reference", lambda: None, "the definition in plain PyTorch; on a GPU it waits for its inputs"
    )
    register_implementation(_operator, "cpu", cpu.cpu_missing, _what)
    if _operator == "antialias":
        continue
    register_implementation(
        _operator, "cuda", cuda.cuda_missing, "CUDA, from the CPU's header", proof="raster.cuda"
    )

# What impl="auto" takes, best first, of what can run the call and is proven on its device.
_PREFERENCES = (
    Preference("cpu", "the fastest on the CPU"),
    Preference("cuda", "it waits for nothing"),
    Preference("reference", "it takes every device and dtype"),
)


def choose(operator: str, impl: str, name: str, tensor: Tensor) -> str:
    """The implementation that a call runs which has ``tensor`` as its argument ``name``.

    Raises as :func:`gptface.ops.registry.choose`. That the reference had to stand in for the native kernel is said once
    in a process.
    """

    def obstacle(implementation: str) -> str | None:
        if implementation == "cpu":
            return cpu.unsupported(name, tensor)
        return cuda.unsupported(name, tensor) if implementation == "cuda" else None

    preferences = _PREFERENCES if operator != "antialias" else _PREFERENCES[::2]  # it has no CUDA kernel
    chosen = registry.choose(operator, impl, preferences, obstacle, tensor.device.index).implementation
    if impl == "auto" and chosen == "reference" and tensor.device.type == "cpu":
        warn_without_cpu_kernel("rasterize_kernel")
    return chosen
