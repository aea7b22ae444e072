"""Launchers of the attention kernels: tensors in, tensors out, nothing allocated but results and two numbers a row.

No launch waits for the device and none depends on a value there. The kernels are compiled for what a model fixes
(dtype, head dimension, heads in a group, intervals a row, dropout or not) and never for batch or sequence lengths.
Under a mask each is launched twice: ``attention_containment`` says what the second pass is for.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any

import torch
import triton
from torch import Tensor

from gptface.kernels.attention_backward import grad_query_kernel
from gptface.kernels.attention_backward_keys import grad_key_value_kernel
from gptface.kernels.attention_bounds import column_bounds_kernel, row_bounds_kernel
from gptface.kernels.attention_configurations import (
    REPAIR_STAGES,
    Configuration,
    block_d,
    configuration,
    table_name,
)
from gptface.kernels.attention_device import BOUND_BLOCK
from gptface.kernels.attention_forward import forward_kernel

__all__ = ["INTERPRETED", "backward", "block_bounds", "constants", "forward"]

# TRITON_INTERPRET=1 was set when the kernels were imported: they run on CPU tensors, one tile after another.
INTERPRETED = not isinstance(forward_kernel, triton.runtime.JITFunction)
_BLOCK = int(BOUND_BLOCK.value)
_LOG2_E = math.log2(math.e)
_LARGEST_TILE = 256  # rows or keys; what 32-bit offsets within a tile have to reach over
_MOST_ROWS = 2**29


@functools.cache
def _table(device: torch.device) -> str:
    return "default" if device.type == "cpu" else table_name(torch.cuda.get_device_capability(device))


@functools.cache
def _cache_bytes(device: torch.device) -> int:
    """Of the L2 cache; the interpreter has none, and gets an ordinary one's."""
    return torch.cuda.get_device_properties(device).L2_cache_size if device.type == "cuda" else 2**25


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device, whichever device its arguments are on."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _last_contiguous(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _blocks(length: int) -> int:
    return -(-length // _BLOCK)


def block_bounds(intervals: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    """The two tables of ``attention_bounds``, ``(B or 1, blocks, K, 4)`` int32, for all kernels and layers."""
    batch, num_queries, k, _ = intervals.shape
    row_blocks, key_blocks = _blocks(num_queries), _blocks(num_keys)
    rows = intervals.new_empty((batch, row_blocks, k, 4))
    columns = intervals.new_empty((batch, key_blocks, k, 4))
    intervals = intervals.contiguous()
    if batch * num_queries * num_keys == 0:
        return rows.zero_(), columns.zero_()
    with _on(intervals.device):
        row_bounds_kernel[(batch * row_blocks,)](intervals, rows, num_queries, num_keys, row_blocks, K=k, num_warps=1)
        column_bounds_kernel[(batch * key_blocks,)](
            rows, columns, num_queries, num_keys, row_blocks, key_blocks, K=k, CHUNK=64, num_warps=1
        )
    return rows, columns


def constants(head_dim: int, group: int, k: int, batched: bool, dropout: bool, flip: bool, unit: int, wide: bool,
              base_2: bool, precision: str) -> dict[str, Any]:  # fmt: skip
    """The compile-time arguments that all matrix kernels share."""
    return {
        "GROUP": group,
        "HEAD_DIM": head_dim,
        "BLOCK_D": block_d(head_dim),
        "K": k,
        "BATCHED": batched,
        "DROPOUT": dropout,
        "FLIP": flip,
        "UNIT": unit,
        "WIDE": wide,
        "BASE_2": base_2,
        "PRECISION": precision,
    }


class _Problem:
    """What forward and backward pass to every kernel alike."""

    def __init__(
        self, strided: list[Tensor], intervals: Tensor | None, seed: Tensor | None, scale: float, dropout_p: float
    ) -> None:
        query, key = strided[:2]
        self.batch, self.num_queries, self.heads, self.head_dim = query.shape
        self.num_keys, self.key_heads = key.shape[1:3]
        self.group = self.heads // self.key_heads
        self.packed_rows = self.num_queries * self.group
        if max(self.packed_rows, self.num_keys) >= _MOST_ROWS:
            raise ValueError(
                f"query and key: at most {_MOST_ROWS - 1} keys, and queries times heads a key head, got "
                f"query {tuple(query.shape)}, key {tuple(key.shape)}"
            )
        self.bits = 8 * query.element_size()
        self.table = _table(query.device)
        dropout = dropout_p > 0.0
        # No scale at all is the smallest: the same weights, and no 0 · −inf among hidden scores.
        base_2 = query.dtype != torch.float32
        self.score_scale = max(abs(scale) * (_LOG2_E if base_2 else 1.0), 1e-37)
        self.keep_probability = 1.0 - dropout_p
        self.threshold = int(dropout_p * 2**32)
        # What a kernel takes but does not read must still be some tensor.
        self.intervals = query if intervals is None else intervals.contiguous()
        self.seed = query if seed is None or not dropout else seed
        steps = [tensor.stride()[:3] for tensor in strided]
        unit = 8 if all(step % 8 == 0 for triple in steps for step in triple) else 1
        reach = max(max(s * _LARGEST_TILE + h * self.group for _, s, h in steps),
                    self.heads * self.head_dim * _LARGEST_TILE)  # fmt: skip
        self.strides = [step // unit for triple in steps for step in triple]
        # Going through the heads tile by tile reads every head again in each round. A quarter of the cache for what is
        # read again, queries and gradients or keys and values, leaves room for as much that is read or written once.
        again = 2 * max(query.numel(), key.numel()) * query.element_size()
        tile_by_tile = int(again <= _cache_bytes(query.device) // 4)
        self.sizes = (self.num_queries, self.num_keys, self.key_heads, tile_by_tile)
        self.constants = constants(
            self.head_dim,
            self.group,
            0 if intervals is None else intervals.shape[2],
            intervals is not None and intervals.shape[0] > 1,
            dropout,
            scale < 0.0,
            unit,
            reach >= 2**31,
            base_2,
            "widened" if INTERPRETED else "ieee",
        )

    def _tiles(self, kernel: str) -> tuple[Configuration, int]:
        """A kernel's configuration, and the number of its programs."""
        keys = kernel == "grad_key_value"
        rows = self.num_keys if keys else self.packed_rows
        chosen = configuration(kernel, self.table, self.bits, self.head_dim, rows)
        block = chosen.block_n if keys else chosen.block_m
        return chosen, -(-rows // block) * self.batch * self.key_heads

    def grid(self, kernel: str) -> tuple[int]:
        return (self._tiles(kernel)[1],)

    def passes(self, kernel: str) -> list[dict[str, Any]]:
        """Compile-time arguments of each launch. Without a mask nothing is hidden, and nothing to be repaired."""
        chosen, _ = self._tiles(kernel)
        shared = {**self.constants, "BLOCK_M": chosen.block_m, "BLOCK_N": chosen.block_n, "enable_fp_fusion": True}
        first = {**shared, "REPAIR": False, "num_warps": chosen.num_warps, "num_stages": chosen.num_stages}
        # Dropout and the second pass keep more, which would spill into their loops: they have no limit.
        if chosen.max_registers is not None and not self.constants["DROPOUT"] and not INTERPRETED:
            first["maxnreg"] = chosen.max_registers
        second = {**shared, "REPAIR": True, "num_warps": chosen.num_warps, "num_stages": REPAIR_STAGES}
        return [first, second] if self.constants["K"] else [first]


def forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    intervals: Tensor | None,
    rows: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments as the operator's, checked there.

    Returns:
        ``out (B, Sq, H, D)`` contiguous, ``lse (B, H, Sq)`` float32, and for :func:`backward` in float32 ``state (2, B,
        H, Sq)``: each row's largest score and one over its sum of powers (of no elements for other dtypes).
    """
    batch, num_queries, heads, _ = query.shape
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    lse = torch.empty((batch, heads, num_queries), dtype=torch.float32, device=query.device)
    exact = query.dtype == torch.float32
    state = torch.empty((2, *lse.shape) if exact else (2, 0), dtype=torch.float32, device=query.device)
    if out.numel() == 0 or key.shape[1] == 0:
        return out.zero_(), lse.fill_(-torch.inf), state.zero_()
    query, key, value = _last_contiguous(query), _last_contiguous(key), _last_contiguous(value)
    problem = _Problem([query, key, value], intervals, seed, scale, dropout_p)
    arguments = (
        query, key, value, out, lse, *(state if exact else (lse, lse)), problem.intervals,
        query if rows is None else rows, problem.seed,
        *problem.strides, *problem.sizes, problem.score_scale, problem.keep_probability, problem.threshold,
    )  # fmt: skip
    with _on(query.device):
        for options in problem.passes("forward"):
            forward_kernel[problem.grid("forward")](*arguments, **options)
    return out, lse, state


def backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    state: Tensor,
    intervals: Tensor | None,
    rows: Tensor | None,
    columns: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout_p: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, contiguous, in their dtypes."""
    grad_query = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    grad_key = torch.empty(key.shape, dtype=key.dtype, device=key.device)
    grad_value = torch.empty(value.shape, dtype=value.dtype, device=value.device)
    if query.numel() == 0 or key.numel() == 0:
        return grad_query.zero_(), grad_key.zero_(), grad_value.zero_()
    query, key, value, grad_out = (_last_contiguous(tensor) for tensor in (query, key, value, grad_out))
    out, lse = out.contiguous(), lse.contiguous()
    delta = torch.empty_like(lse)
    exact = query.dtype == torch.float32
    kept = tuple(state.contiguous()) if exact else (lse, lse)
    shifts = kept[0] if exact else torch.empty_like(lse)
    problem = _Problem([query, key, value, grad_out], intervals, seed, scale, dropout_p)
    numbers = (
        *problem.strides, *problem.sizes, scale, problem.score_scale, 1.0 / problem.keep_probability, problem.threshold,
    )  # fmt: skip
    with _on(query.device):
        grid = problem.grid("grad_query")
        for options in problem.passes("grad_query"):
            grad_query_kernel[grid](
                query, key, value, grad_out, out, lse, *kept, lse if grad_lse is None else grad_lse.contiguous(),
                delta, shifts, grad_query, problem.intervals, query if rows is None else rows, problem.seed, *numbers,
                GRAD_LSE=grad_lse is not None, **options,
            )  # fmt: skip
        grid = problem.grid("grad_key_value")
        for options in problem.passes("grad_key_value"):
            grad_key_value_kernel[grid](
                query, key, value, grad_out, shifts, kept[1], delta, grad_key, grad_value, problem.intervals,
                query if columns is None else columns, problem.seed, *numbers, **options,
            )  # fmt: skip
    return grad_query, grad_key, grad_value
