"""``torch.nn.attention.flex_attention``, compiled. Its mask is a function of (batch, head, row, key) and a block mask.

The function reads the bounds of a row's visible keys from a tensor where the pattern varies by sample, and is plain
arithmetic where it does not: the cheapest form for each pattern that its documentation shows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.attention_problem import AttentionProblem, prepare_attention
from benchmarks.contender import CannotRun, Case, Contender, Prepared, optional_import
from benchmarks.patterns import Pattern

__all__ = ["contenders", "mask_function"]


def contenders(case: Case) -> list[Contender]:
    """One for each of its backends; the block mask is built anew for the column that includes mask building."""
    if case.settings["pattern"] == "cache":
        return []
    flash = functools.partial(_prepare, backend="FLASH")
    return [Contender("FlexAttention, compiled", "torch", _prepare), Contender("FlexAttention, FLASH", "torch", flash)]


def mask_function(pattern: Pattern) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """``mask_mod(b, h, i, j)`` of a pattern."""
    if pattern.kind == "causal":
        return lambda b, h, i, j: j <= i
    if pattern.kind in ("mixed", "prefix_lm"):
        lengths, prefix = pattern.lengths, pattern.prefix_lengths
        # Padding rows see every valid key: an empty row would cost nothing but may give NaN.
        return lambda b, h, i, j: (j < lengths[b]) & ((j < prefix[b]) | (j <= i))
    if pattern.kind in ("packed", "packed_causal"):
        documents = pattern.document_ids
        if pattern.kind == "packed":
            return lambda b, h, i, j: documents[i] == documents[j]
        return lambda b, h, i, j: (documents[i] == documents[j]) & (j <= i)
    if pattern.kind == "sliding_window":
        window = pattern.window
        return lambda b, h, i, j: (j <= i) & (i - j <= window)
    branches = pattern.branch_ids
    return lambda b, h, i, j: (branches[j] == 0) | ((branches[j] == branches[i]) & (j <= i))


@functools.cache
def _compiled() -> tuple[Any, Any]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    return torch.compile(flex_attention, dynamic=False), torch.compile(create_block_mask, dynamic=False)


def _prepare(problem: AttentionProblem, backend: str = "") -> Prepared:
    pattern, device = problem.pattern, problem.query.device
    if backend:
        if device.type != "cuda":
            raise CannotRun("needs CUDA")
        optional_import("flash_attn.cute", "flash-attn-4")
    options = {"BACKEND": backend} if backend else None
    if device.type == "cpu" and problem.shape.backward:
        raise CannotRun("FlexAttention has no backward pass on a processor")
    flex, create = _compiled()
    batch = pattern.batch if pattern.lengths is not None else None

    def attend(query: Tensor, key: Tensor, value: Tensor, block_mask: Any) -> Tensor:
        q, k, v = (tensor.transpose(1, 2) for tensor in (query, key, value))
        return flex(q, k, v, block_mask=block_mask, kernel_options=options).transpose(1, 2)

    if pattern.kind == "dense":
        return prepare_attention(problem, attend)
    function = mask_function(pattern)

    def build() -> Any:
        return create(function, batch, None, pattern.length, pattern.length, device=device)

    return prepare_attention(problem, attend, build)
