"""Launchers of the lookup kernels: tensors in, tensors out; two passes, and a third where nearest rows are asked for.

No launch waits for the device and none depends on a value there. The kernels are compiled for what a model fixes
(dtype, vector length, metric, number of candidates) and never for the number of rows or codes.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
import triton
from torch import Tensor

from gptface.kernels.attention_configurations import table_name
from gptface.kernels.vq_configurations import code_splits, configuration, depth_block
from gptface.kernels.vq_decide import decide_kernel
from gptface.kernels.vq_nominate import nominate_kernel, row_terms_kernel

__all__ = ["INTERPRETED", "constants", "decide_constants", "lookup"]

# TRITON_INTERPRET=1 was set when the kernels were imported: they run on CPU tensors, one tile after another.
INTERPRETED = not isinstance(nominate_kernel, triton.runtime.JITFunction)
_DECIDE_ELEMENTS = 2048  # of a tile of candidates: 16 float64 a thread of four warps
_NOBODY = -(2**63)


@functools.cache
def _device(index: int | None) -> tuple[str, int]:
    """Table and number of multiprocessors."""
    if index is None:
        return "default", 1
    properties = torch.cuda.get_device_properties(index)
    return table_name((properties.major, properties.minor)), properties.multi_processor_count


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device, whichever device its arguments are on."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def constants(width: int, block_k: int, kept: int, unit: int, contiguous: bool, moved: bool, nearest: bool,
              precision: str, interpreted: bool) -> dict[str, Any]:  # fmt: skip
    """The compile-time arguments of ``nominate_kernel`` but for its tile of rows and codes."""
    block = depth_block(block_k, width)
    return {
        "WIDTH": width,
        "DEPTH": -(-width // block) * block,
        "UNIT": unit,
        "CONTIGUOUS": contiguous,
        "MOVED": moved,
        "KEPT": kept,
        "SLOTS": _power_of_two(kept),
        "NEAREST": nearest,
        "PRECISION": precision,
        "INTERPRETED": interpreted,
        "BLOCK_K": block,
    }


def decide_constants(width: int, metric: str, nominated: int) -> dict[str, Any]:
    """The compile-time arguments of ``decide_kernel``."""
    slots = _power_of_two(nominated)
    block_k = min(64, max(16, _power_of_two(width)))
    block_m = max(1, _DECIDE_ELEMENTS // (slots * block_k))
    return {"WIDTH": width, "METRIC": metric, "SLOTS": slots, "BLOCK_M": block_m, "BLOCK_K": block_k}


def _packed(words: Tensor, depth: int, precision: str) -> Tensor:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if depth == words.shape[-1]:
        return words.to(dtype).contiguous()
    padded = torch.zeros((*words.shape[:-1], depth), dtype=dtype, device=words.device)
    padded[..., : words.shape[-1]] = words
    return padded


def lookup(
    x: Tensor, codebook: Tensor, words: Tensor, bias: Tensor, centre: Tensor, scale: Tensor, metric: str, topk: int,
    kept: int, precision: str, nearest_rows: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Scores and indices of ``x (G, N, D)`` in ``codebook (G, K, D)``, counts and nearest rows, as the operator's.

    Args:
        x, codebook: as they were given, any strides.
        words, bias, centre, scale: ``(G, K, D)``, ``(G, K)``, ``(G, D)``, ``(G,)`` float32: see ``vq_nominate``.
        kept: candidates that are decided in float64, at least ``topk``.
        precision: one of ``vq_configurations.PRECISIONS``.
        nearest_rows: whether to find them; codes that hold a NaN or an infinity get a row like others, which the
            caller has to drop.
    """
    groups, rows, width = x.shape
    codes = codebook.shape[1]
    device = x.device
    scores = torch.empty((groups, rows, topk), dtype=torch.float32, device=device)
    indices = torch.empty((groups, rows, topk), dtype=torch.int64, device=device)
    counts = torch.zeros((groups, codes), dtype=torch.int64, device=device)
    nearest = torch.full((groups, codes if nearest_rows else 0), _NOBODY, dtype=torch.int64, device=device)
    if groups * rows == 0:
        return scores, indices, counts, nearest.fill_(-1)

    table, multiprocessors = _device(device.index)
    chosen = configuration(table, precision, width, kept)
    contiguous = width == 1 or x.stride(2) == 1
    strides = x.stride()
    unit = 8 if contiguous and strides[0] % 8 == 0 and strides[1] % 8 == 0 else 1
    fixed = constants(width, chosen.block_k, kept, unit, contiguous, metric == "euclidean", nearest_rows, precision,
                      INTERPRETED)  # fmt: skip
    blocks, tiles = -(-rows // chosen.block_m), -(-codes // chosen.block_n)
    splits = code_splits(groups * blocks, tiles, kept, multiprocessors)
    candidates = torch.empty((groups, rows, splits * kept), dtype=torch.int32, device=device)
    packed = _packed(words, fixed["DEPTH"], precision)
    with _on(device):
        terms = bias
        if nearest_rows:
            terms = torch.empty((groups, 2, rows), dtype=torch.float32, device=device)
            block_k = min(64, max(16, _power_of_two(width)))
            row_terms_kernel[(groups * -(-rows // 32),)](
                x, centre, scale, terms, *strides, rows, WIDTH=width, METRIC=metric, BLOCK_M=32, BLOCK_K=block_k
            )
        nominate_kernel[(groups * blocks * splits,)](
            x, packed, bias, centre, scale, terms, candidates, nearest if nearest_rows else candidates,
            strides[0] // unit, strides[1] // unit, strides[2], rows, codes, splits, **fixed,
            BLOCK_M=chosen.block_m, BLOCK_N=chosen.block_n, num_warps=chosen.num_warps, num_stages=chosen.num_stages,
        )  # fmt: skip
        settled = decide_constants(width, metric, splits * kept)
        decide_kernel[(groups * -(-rows // settled["BLOCK_M"]),)](
            x, codebook, candidates, scores, indices, counts, *strides, *codebook.stride(), rows, codes,
            splits * kept, topk, **settled, num_warps=4,
        )  # fmt: skip
    if nearest_rows:
        row = 0x7FFFFFFF - (nearest & 0xFFFFFFFF)
        nearest = torch.where(nearest == _NOBODY, -1, row)
    return scores, indices, counts, nearest
