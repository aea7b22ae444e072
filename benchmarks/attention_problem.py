"""The inputs of one attention case, its float64 oracle, and how any attention function becomes a contender."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.contender import CannotRun, Prepared
from benchmarks.patterns import Pattern, make_pattern
from benchmarks.shapes import AttentionShape

__all__ = ["AttentionProblem", "make_problem", "prepare_attention", "refuse_large_scores"]

Attend = Callable[[Tensor, Tensor, Tensor, Any], Tensor]
SCORE_LIMIT = 8 << 30  # bytes; what stores every score is left out above this


@dataclass
class AttentionProblem:
    """``query, grad_out (B, Sq, H, D)``, ``key, value (B, S, Hkv, D)``: normal draws; ``grad_out`` is 0 on padding, as
    a loss leaves it. A cache lies in memory as ``(B, Hkv, S, D)``, which is how language models hold it."""

    shape: AttentionShape
    pattern: Pattern
    query: Tensor
    key: Tensor
    value: Tensor
    grad_out: Tensor

    @functools.cached_property
    def pairs(self) -> int:
        """Visible (query, key) pairs of one head, over the batch."""
        return self.pattern.pairs()

    @functools.cached_property
    def oracle(self) -> tuple[Tensor, ...]:
        """Output and, with ``backward``, the three gradients in float64, a block of rows at a time."""
        scale = self.shape.head_dim**-0.5
        q, k, v, g = (t.detach().double().transpose(1, 2) for t in (self.query, self.key, self.value, self.grad_out))
        group = self.shape.group
        if group > 1:
            k, v = (tensor.repeat_interleave(group, 1) for tensor in (k, v))
        out = torch.zeros_like(q)
        gradients = [torch.zeros_like(t) for t in (q, k, v)]
        heads, length = q.shape[0] * q.shape[1], q.shape[2]
        step = max(1, min(length, (1 << 25) // (heads * k.shape[2])))
        for first in range(0, length, step):
            rows = slice(first, min(first + step, length))
            visible = self.pattern.visible(rows.start, rows.stop).unsqueeze(1)
            seen = visible.flatten(0, 2).any(0).nonzero()
            if len(seen) == 0:
                continue
            keys = slice(int(seen[0]), int(seen[-1]) + 1)
            visible = visible[..., keys]
            empty = ~visible.any(-1, keepdim=True)
            parts = [
                t.detach().requires_grad_(self.shape.backward) for t in (q[:, :, rows], k[:, :, keys], v[:, :, keys])
            ]
            scores = (parts[0] @ parts[1].transpose(-1, -2)) * scale
            weights = scores.masked_fill(~visible & ~empty, -torch.inf).softmax(-1).masked_fill(empty, 0.0)
            block = weights @ parts[2]
            out[:, :, rows] = block.detach()
            if self.shape.backward:
                found = torch.autograd.grad(block, parts, g[:, :, rows])
                for total, where, part in zip(gradients, (rows, keys, keys), found, strict=True):
                    total[:, :, where] += part
        results = [out, *gradients] if self.shape.backward else [out]
        return tuple(t.transpose(1, 2) for t in results)


def make_problem(shape: AttentionShape, device: torch.device) -> AttentionProblem:
    """Draw a case's inputs from a fixed seed.

    Raises:
        ValueError: gradients of grouped heads, for which there is no oracle here.
    """
    if shape.backward and shape.group > 1:
        raise ValueError(f"{shape.name}: grouped heads are measured forward only")
    pattern = make_pattern(shape.pattern, shape.batch, shape.length, shape.options, device, shape.queries)
    generator = torch.Generator().manual_seed(1)
    sizes = [
        (shape.batch, rows, heads, shape.head_dim)
        for rows, heads in (
            (shape.rows, shape.heads),
            (shape.length, shape.key_heads or shape.heads),
            (shape.length, shape.key_heads or shape.heads),
            (shape.rows, shape.heads),
        )
    ]
    dtype = getattr(torch, shape.dtype)
    query, key, value, grad_out = (torch.randn(size, generator=generator).to(device, dtype) for size in sizes)
    if pattern.kind == "cache":
        query, key, value = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (query, key, value))
    empty = pattern.empty_rows()
    if empty is not None:
        grad_out = grad_out.masked_fill(empty[:, :, None, None], 0.0)
    for tensor in (query, key, value):
        tensor.requires_grad_(shape.backward)
    return AttentionProblem(shape, pattern, query, key, value, grad_out)


def prepare_attention(problem: AttentionProblem, attend: Attend, build: Callable[[], Any] | None = None) -> Prepared:
    """A contender from ``attend(query, key, value, mask) -> out``, all ``(B, S, H, D)``."""
    inputs = (problem.query, problem.key, problem.value)

    def run(mask: Any) -> tuple[Tensor, ...]:
        if not problem.shape.backward:
            with torch.no_grad():
                return (attend(*inputs, mask),)
        out = attend(*inputs, mask)
        return (out.detach(), *torch.autograd.grad(out, inputs, problem.grad_out))

    return Prepared(run, build)


def refuse_large_scores(problem: AttentionProblem) -> None:
    """For contenders that store every score.

    Raises:
        CannotRun: float32 scores of the case would take more than 8 GiB.
    """
    needed = problem.shape.batch * problem.shape.heads * problem.shape.rows * problem.shape.length * 4
    if needed > SCORE_LIMIT:
        raise CannotRun(f"its scores alone would take {needed / 2**30:.0f} GiB")
