"""VQ lookup of short vectors in the native CUDA library: which calls it takes, and how they reach it."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.ops.native import cuda_kernel_missing
from gptface.ops.tracing import constant_in_traces
from gptface.ops.vq.centring import ranked_codes

__all__ = ["cuda_missing", "lookup_cuda", "unsupported"]

_LONGEST = 32
_MOST_ROWS = 2**31 - 1024
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define(
    "vq_lookup_short(Tensor x, Tensor codebook, Tensor words, Tensor bias, Tensor centre, Tensor scale, str metric)"
    " -> (Tensor scores, Tensor indices, Tensor counts)"
)


@constant_in_traces
def cuda_missing() -> str | None:
    """``None`` where the native library holds the lookup and a device is there, else the reason why not."""
    return cuda_kernel_missing("vq_lookup_short")


def unsupported(x: Tensor, codebook: Tensor, topk: int, nearest_rows: bool) -> str | None:
    """Why the native library cannot take this call, or ``None``."""
    reason = cuda_missing()
    if reason is not None:
        return reason
    if x.device.type != "cuda":
        return f"x is on {x.device.type!r}"
    for name, tensor in (("x", x), ("codebook", codebook)):
        if tensor.dtype not in _DTYPES:
            return f"{name} is {tensor.dtype}; it takes float32, bfloat16 and float16"
    if x.shape[-1] > _LONGEST:
        return f"the last dimension is {x.shape[-1]}; it takes at most {_LONGEST}"
    if topk > 1:
        return f"topk={topk}; it takes 1 (impl='triton' takes more)"
    if nearest_rows:
        return "nearest_rows=True; impl='triton' finds them"
    return None


def lookup_cuda(
    x: Tensor, codebook: Tensor, metric: str, topk: int, precision: str, nearest_rows: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`gptface.ops.vq.reference.lookup_reference`, for what :func:`unsupported` lets pass.

    Always ``"exact"``: float32 products nominate two codes or more, which float64 decides. Rows so far from the codes
    that float32 cannot hold their products with (centred) codes have no defined winner.
    What that guarantees is what :func:`gptface.ops.vq.triton_lookup.lookup_triton` says for ``topk = 1``: the index of
    float64 in rows where at most two codes reach the best score less twice the rounding of a float32 score, elsewhere
    a code that is as good up to that.
    """
    groups, rows, _ = x.shape
    if max(groups * rows, groups * codebook.shape[1]) > _MOST_ROWS:
        raise RuntimeError(
            f"vq_lookup: impl='cuda' takes at most {_MOST_ROWS} rows and codes, x is {tuple(x.shape)} and "
            f"codebook {tuple(codebook.shape)} with the groups first"
        )
    ranked = ranked_codes(codebook, metric)
    scores, indices, counts = torch.ops.gptface.vq_lookup_short(
        x, codebook.float().contiguous(), ranked.words, ranked.bias, ranked.centre, ranked.scale, metric
    )
    return scores.unsqueeze(-1), indices.unsqueeze(-1), counts, counts.new_empty((groups, 0))
