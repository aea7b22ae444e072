"""The short way of a step of generation: few queries on a processor, which nobody differentiates.

Such a call takes ten microseconds, and every check, choice and layer of dispatch in Python costs one of them. So it
goes straight to the native operator, which checks shapes itself; where that refuses, or anything is out of the
ordinary, the usual way follows, and its checks say what is wrong.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gptface.ops.attention import library as _library  # noqa: F401  defines the operator
from gptface.ops.attention.cpu_table import FEW_QUERIES, CpuCall, preferences
from gptface.ops.attention.mask import IntervalMask
from gptface.ops.cpu_class import cpu_class
from gptface.ops.derivatives import may_be_differentiated
from gptface.ops.native import cpu_instruction_set, cpu_kernel_missing

__all__ = ["attend_step"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_KINDS = ("full", "causal", "general")
_MOST_QUERIES = 16  # beyond, what is saved here is no share of the call
_forward = torch.ops.gptface.masked_attention_forward.default


def attend_step(
    query: Tensor, key: Tensor, value: Tensor, mask: IntervalMask | None, scale: float | None
) -> Tensor | None:
    """``out (B, Sq, H, D)`` of a call without dropout, or None where it has to take the usual way.

    Not for compiled code, which would trace all this for nothing.
    """
    if type(query) is not Tensor or type(key) is not Tensor or type(value) is not Tensor:
        return None
    shape = query.shape
    if len(shape) != 4 or shape[1] > _MOST_QUERIES or query.dtype not in _DTYPES:
        return None
    if not (query.is_cpu and key.is_cpu and value.is_cpu):
        return None
    if mask is None:
        if shape[1] > 1:  # perhaps in torch's layout
            return None
        intervals = None
    elif type(mask) is IntervalMask and mask.num_keys == key.shape[1] and mask.intervals.is_cpu:
        intervals = mask.intervals
    else:
        return None
    if scale is None:
        scale = shape[3] ** -0.5 if shape[3] else 1.0
    elif type(scale) is not float or not abs(scale) < math.inf:
        return None
    if may_be_differentiated(query, key, value) or torch.is_autocast_enabled("cpu"):
        return None
    if forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        return None
    if cpu_kernel_missing("masked_attention_forward") is not None or shape[1] > _most_queries(cpu_instruction_set()):
        return None
    try:
        return _forward(query, key, value, intervals, scale)
    except RuntimeError:
        return None


@functools.cache
def _most_queries(instruction_set: str) -> int:
    """Up to how many queries the table takes the native kernels for all that comes here, with this instruction set."""
    machine = cpu_class().name
    for queries in (_MOST_QUERIES, FEW_QUERIES):
        calls = [CpuCall(dtype, kind, queries, 1, 64, False) for dtype in _DTYPES for kind in _KINDS]
        if all(preferences(machine, call)[0].implementation == "cpu" for call in calls):
            return queries
    return 0
