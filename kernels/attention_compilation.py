"""The attention kernels under :mod:`gptface.kernels.compilation`: one line of a table to one piece of machine code."""

from __future__ import annotations

from typing import Any

from gptface.kernels.attention import constants
from gptface.kernels.attention_backward import grad_query_kernel
from gptface.kernels.attention_backward_keys import grad_key_value_kernel
from gptface.kernels.attention_bounds import column_bounds_kernel, row_bounds_kernel
from gptface.kernels.attention_configurations import REPAIR_STAGES, Configuration
from gptface.kernels.attention_forward import forward_kernel
from gptface.kernels.compilation import MachineCode, compile_kernel

__all__ = ["MATRIX_KERNELS", "compile_bounds", "compile_configuration"]

MATRIX_KERNELS = {
    "forward": forward_kernel,
    "grad_query": grad_query_kernel,
    "grad_key_value": grad_key_value_kernel,
}
_FLOAT32 = ("lse", "row_top", "row_inverse", "row_shift", "grad_lse", "delta", "shifts")
_INT32 = ("intervals", "rows", "columns")


def _pointers(kernel: Any, dtype: str) -> dict[str, str]:
    types = {"seed": "i64", **dict.fromkeys(_FLOAT32, "fp32"), **dict.fromkeys(_INT32, "i32")}
    tensors = [parameter.name for parameter in kernel.params if "tensor" in parameter.annotation]
    return {name: types.get(name, dtype) for name in tensors}


def compile_configuration(
    kernel: str,
    chosen: Configuration,
    architecture: str,
    *,
    dtype: str = "bf16",
    head_dim: int = 64,
    group: int = 1,
    k: int = 2,
    batched: bool = True,
    dropout: bool = False,
    unit: int = 8,
    wide: bool = False,
    flip: bool = False,
    repair: bool = False,
) -> MachineCode:
    """Machine code of one matrix kernel; by default two intervals a row, the most that a mask can ask for.

    ``repair`` is the second pass of ``attention_containment``.
    """
    fixed = constants(head_dim, group, k, batched, dropout, flip, unit, wide, dtype != "fp32", "ieee")
    fixed |= {"REPAIR": repair, "BLOCK_M": chosen.block_m, "BLOCK_N": chosen.block_n}
    if kernel == "grad_query":
        fixed["GRAD_LSE"] = False
    function = MATRIX_KERNELS[kernel]
    stages, limit = REPAIR_STAGES if repair else chosen.num_stages, None if repair or dropout else chosen.max_registers
    return compile_kernel(function, _pointers(function, dtype), fixed, architecture, chosen.num_warps, stages, limit)


def compile_bounds(kernel: str, architecture: str, k: int) -> MachineCode:
    """Machine code of the kernel ``"rows"`` or ``"columns"`` of ``attention_bounds``."""
    function = row_bounds_kernel if kernel == "rows" else column_bounds_kernel
    fixed = {"K": k} if kernel == "rows" else {"K": k, "CHUNK": 64}
    return compile_kernel(function, _pointers(function, "i32"), fixed, architecture, 1, 3)
