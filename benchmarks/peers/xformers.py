"""xFormers' ``memory_efficient_attention``: its bias classes where one says the pattern, else a dense additive bias."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.attention_problem import AttentionProblem, prepare_attention
from benchmarks.contender import CannotRun, Case, Contender, Prepared, optional_import
from benchmarks.peers.torch_sdpa import dense_mask

__all__ = ["contenders"]

ALIGNMENT = 8  # a dense bias must be stored with rows that are a multiple of this long


def contenders(case: Case) -> list[Contender]:
    return [Contender("xFormers", "xformers", _prepare)]


def _prepare(problem: AttentionProblem) -> Prepared:
    ops = optional_import("xformers.ops", "xformers")
    biases = optional_import("xformers.ops.fmha.attn_bias", "xformers")
    if problem.query.device.type != "cuda":
        raise CannotRun("needs CUDA")
    pattern = problem.pattern

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Any) -> Tensor:
        if isinstance(bias, Tensor):
            bias = bias.expand(pattern.batch, problem.shape.heads, -1, -1)
        return ops.memory_efficient_attention(query, key, value, attn_bias=bias)

    def build() -> Any:
        if pattern.kind == "causal":
            return biases.LowerTriangularMask()
        if pattern.kind in ("packed", "packed_causal"):
            bias = biases.BlockDiagonalMask.from_seqlens(pattern.document_lengths)
            return bias.make_causal() if pattern.kind == "packed_causal" else bias
        if pattern.kind == "sliding_window":
            return biases.LowerTriangularFromBottomRightLocalAttentionMask(pattern.window + 1)
        length = pattern.length
        padded = -(-length // ALIGNMENT) * ALIGNMENT
        bias = dense_mask(pattern, problem.query.dtype)
        room = torch.zeros((*bias.shape[:-1], padded), dtype=bias.dtype, device=bias.device)
        room[..., :length] = bias
        return room[..., :length]

    return prepare_attention(problem, attend, None if pattern.kind == "dense" else build)
