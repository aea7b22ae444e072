"""VQ lookup in the native CPU library: which calls it takes, and how they reach it.

The kernel streams tiles of scores through the registers and decides in float64 from the original values every choice
that rounding could have turned, so its indices are those of float64 arithmetic. Where the processor multiplies
bfloat16, a first pass in it settles the rows whose winner stands clear of a proven bound on its rounding, and float32
the rest; nearest rows are found in float32 throughout.

A codebook is packed in each call, or once by ``gptface.ops.pack_codebook`` (see :mod:`gptface.ops.vq.packed`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.ops.native import cpu_kernel_missing
from gptface.ops.tracing import constant_in_traces

__all__ = ["cpu_missing", "lookup_cpu", "pack", "unsupported"]

_MOST_CANDIDATES = 16
_MOST_ROWS = 2**31 - 65
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define(
    "vq_lookup_kernel(Tensor x, Tensor codebook, str metric, int topk, bool bfloat16, bool nearest_rows)"
    " -> (Tensor scores, Tensor indices, Tensor counts, Tensor nearest_rows)"
)
_library.define(
    "vq_lookup_packed_kernel(Tensor x, Tensor codebook, Tensor packed, str metric, int topk, bool bfloat16,"
    " bool nearest_rows) -> (Tensor scores, Tensor indices, Tensor counts, Tensor nearest_rows)"
)
_library.define("vq_pack_kernel(Tensor codebook, str metric, bool bfloat16) -> Tensor")


@constant_in_traces
def cpu_missing() -> str | None:
    """``None`` where the native library holds the lookup, else the reason why it does not."""
    return cpu_kernel_missing("vq_lookup_kernel") or cpu_kernel_missing("vq_pack_kernel")


def unsupported(x: Tensor, codebook: Tensor, topk: int) -> str | None:
    """Why the native library cannot take this call, or ``None``."""
    if x.device.type != "cpu":
        return f"x is on {x.device.type!r}"
    for name, tensor in (("x", x), ("codebook", codebook)):
        if tensor.dtype not in _DTYPES:
            return f"{name} is {tensor.dtype}; it takes float32, bfloat16 and float16"
    if topk > _MOST_CANDIDATES:
        return f"topk={topk}; it takes at most {_MOST_CANDIDATES}"
    return cpu_missing()


def pack(codebook: Tensor, metric: str, precision: str) -> Tensor:
    """``codebook (K, D)`` or ``(G, K, D)``, contiguous float32, as :func:`lookup_cpu` takes it: uint8, in a layout that
    belongs to the processor."""
    codes = codebook.reshape(-1, *codebook.shape[-2:])
    return torch.ops.gptface.vq_pack_kernel(codes, metric, precision == "bf16")


def lookup_cpu(
    x: Tensor,
    codebook: Tensor,
    metric: str,
    topk: int,
    precision: str,
    nearest_rows: bool,
    packed: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`gptface.ops.vq.reference.lookup_reference`, for what :func:`unsupported` lets pass.

    ``packed`` is what :func:`pack` made of ``codebook`` for this metric and precision; it changes no bit. Where the
    process has changed to another instruction set since, it is passed over.

    Memory besides the results: O(D) a thread and 4 bytes a row for a first pass; without ``packed`` one copy of the
    codebook, packed for the kernel (another where it is not contiguous float32, half a copy for a first pass); with
    ``nearest_rows`` 8 bytes a code and thread.
    """
    if x.shape[1] > _MOST_ROWS:
        raise RuntimeError(f"vq_lookup: impl='cpu' takes at most {_MOST_ROWS} rows, x has {x.shape[1]}")
    codes = codebook.to(torch.float32).contiguous()
    options = (metric, topk, precision == "bf16", nearest_rows)
    if packed is None:
        scores, indices, counts, nearest = torch.ops.gptface.vq_lookup_kernel(x, codes, *options)
    else:
        scores, indices, counts, nearest = torch.ops.gptface.vq_lookup_packed_kernel(x, codes, packed, *options)
    return scores, indices, counts, nearest
