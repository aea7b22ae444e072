"""Which implementation a call of :func:`~gptface.ops.vq.vq_lookup` runs, and why."""

from __future__ import annotations

from torch import Tensor

from gptface.ops import registry, triton_support
from gptface.ops.native import warn_without_cpu_kernel
from gptface.ops.registry import Preference, register_implementation
from gptface.ops.vq import cpu, cuda, triton_lookup

__all__ = ["choose"]

register_implementation(
    "vq_lookup", "reference", lambda: None, "the definition in plain PyTorch; memory grows with N·K·D"
)
register_implementation(
    "vq_lookup", "torch", lambda: None, "plain PyTorch over chunks of rows, the closest codes scored again in float64"
)
register_implementation(
    "vq_lookup",
    "cpu",
    cpu.cpu_missing,
    "C++ tiles with the selection in registers, near ties decided in float64, in the machine's best instruction set",
)
register_implementation(
    "vq_lookup",
    "triton",
    triton_support.missing,
    "Triton tiles with a running selection, the nominated codes decided in float64; float32, TF32 and bfloat16",
    proof="vq",
)
register_implementation(
    "vq_lookup",
    "cuda",
    cuda.cuda_missing,
    "CUDA C++ for vectors of up to 32 elements, the codebook in shared memory",
    proof="vq.cuda",
)

# What impl="auto" takes, best first, of what can run the call and is proven on its device.
_PREFERENCES = (
    Preference("cpu", "the fastest on the CPU: the selection happens in registers"),
    Preference("cuda", "made for vectors this short: no product is padded to a tile of a matrix unit"),
    Preference("triton", "the fastest on a GPU: the selection runs along with the tiles"),
    Preference("torch", "it takes every device, dtype and topk in bounded memory"),
)


def choose(x: Tensor, codebook: Tensor, topk: int, nearest_rows: bool, impl: str) -> Preference:
    """The implementation that a call with checked arguments runs. Raises as :func:`gptface.ops.registry.choose`.

    That torch had to stand in for the native kernel is said once in a process.
    """

    def obstacle(name: str) -> str | None:
        if name == "cpu":
            return cpu.unsupported(x, codebook, topk)
        if name == "triton":
            return triton_lookup.unsupported(x, codebook, topk)
        return cuda.unsupported(x, codebook, topk, nearest_rows) if name == "cuda" else None

    chosen = registry.choose("vq_lookup", impl, _PREFERENCES, obstacle, x.device.index)
    if impl == "auto" and chosen.implementation != "cpu" and x.device.type == "cpu":
        warn_without_cpu_kernel("vq_lookup_kernel")
    return chosen
