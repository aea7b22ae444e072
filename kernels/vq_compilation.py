"""The lookup kernels under :mod:`gptface.kernels.compilation`: one line of a table to one piece of machine code."""

from __future__ import annotations

from gptface.kernels.compilation import MachineCode, compile_kernel
from gptface.kernels.vq import constants, decide_constants
from gptface.kernels.vq_configurations import Configuration
from gptface.kernels.vq_decide import decide_kernel
from gptface.kernels.vq_nominate import nominate_kernel, row_terms_kernel

__all__ = ["compile_configuration", "compile_decide", "compile_row_terms"]

_POINTERS = {"bias": "fp32", "centre": "fp32", "scale": "fp32", "terms": "fp32", "candidates": "i32", "nearest": "i64"}


def compile_configuration(
    precision: str,
    chosen: Configuration,
    architecture: str,
    *,
    width: int = 128,
    kept: int = 2,
    dtype: str = "fp32",
    unit: int = 8,
    contiguous: bool = True,
    moved: bool = True,
    nearest: bool = False,
) -> MachineCode:
    """Machine code of ``nominate_kernel``; by default for distances of float32 rows."""
    fixed = constants(width, chosen.block_k, kept, unit, contiguous, moved, nearest, precision, False)
    fixed |= {"BLOCK_M": chosen.block_m, "BLOCK_N": chosen.block_n}
    pointers = {"x": dtype, "words": "bf16" if precision == "bf16" else "fp32", **_POINTERS}
    return compile_kernel(nominate_kernel, pointers, fixed, architecture, chosen.num_warps, chosen.num_stages)


def compile_decide(architecture: str, *, width: int, metric: str, nominated: int, dtype: str = "fp32") -> MachineCode:
    """Machine code of ``decide_kernel``."""
    pointers = {"x": dtype, "codebook": dtype, "candidates": "i32", "scores": "fp32", "indices": "i64", "counts": "i64"}
    return compile_kernel(decide_kernel, pointers, decide_constants(width, metric, nominated), architecture, 4, 3)


def compile_row_terms(architecture: str, *, width: int, metric: str, dtype: str = "fp32") -> MachineCode:
    """Machine code of ``row_terms_kernel``."""
    pointers = {"x": dtype, "centre": "fp32", "scale": "fp32", "terms": "fp32"}
    fixed = {"WIDTH": width, "METRIC": metric, "BLOCK_M": 32, "BLOCK_K": min(64, max(16, width))}
    return compile_kernel(row_terms_kernel, pointers, fixed, architecture, 4, 3)
