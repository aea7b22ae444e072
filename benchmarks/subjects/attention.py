"""Masked attention: forward, and forward with backward, over every pattern."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.attention_problem import AttentionProblem, make_problem, prepare_attention, refuse_large_scores
from benchmarks.contender import BASELINE, CannotRun, Case, Contender, Prepared, Scale, Subject, Verdict
from benchmarks.peers import flash_attention, flex_attention, torch_sdpa, xformers
from benchmarks.shapes import AttentionShape, attention_shapes
from gptface.ops import implementations, masked_attention

__all__ = ["RMSE_LIMIT", "Attention"]

# ‖out − oracle‖ / ‖oracle‖, the project's limit for its own kernels (float32 means float32: TF32 does not pass).
RMSE_LIMIT = {torch.float32: 1e-5, torch.bfloat16: 0.006, torch.float16: 0.006}


class Attention(Subject):
    name = "attention"
    title = "Masked attention"
    size_label = "tokens in a row"
    has_masks = True

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        shapes = attention_shapes(scale, device.type)
        return [Case(shape.name, shape.length, dataclasses.asdict(shape), _headline(shape)) for shape in shapes]

    def problem(self, case: Case, device: torch.device) -> AttentionProblem:
        return make_problem(AttentionShape(**case.settings), device)

    def contenders(self, case: Case) -> Sequence[Contender]:
        own = [Contender(BASELINE, "gptface", functools.partial(_prepare, impl="auto"))]
        for entry in implementations("masked_attention"):
            prepare = functools.partial(_prepare, impl=entry.name, reason=entry.reason)
            own.append(Contender(f"gptface, {entry.name}", "gptface", prepare))
        peers = (torch_sdpa, flex_attention, xformers, flash_attention)
        return [*own, *(contender for family in peers for contender in family.contenders(case))]

    def gate(self, problem: AttentionProblem, outputs: Sequence[Tensor]) -> Verdict:
        names = ("out", "grad_query", "grad_key", "grad_value")
        empty = problem.pattern.empty_rows()
        figures = {}
        for name, result, oracle in zip(names, outputs, problem.oracle, strict=False):
            if result.shape != oracle.shape:
                return Verdict(figures, f"{name} has shape {tuple(result.shape)}, not {tuple(oracle.shape)}")
            result = result.double()
            if name == "out" and empty is not None:  # what a row that sees nothing gives is not compared
                result = result.masked_fill(empty[:, :, None, None], 0.0)
            figures[f"rmse_{name}"] = float((result - oracle).norm() / oracle.norm())
        limit = RMSE_LIMIT[problem.query.dtype]
        for name, error in figures.items():
            if not error <= limit:  # NaN does not pass either
                return Verdict(figures, f"{name} is {error:.1e}, allowed {limit:.0e}")
        return Verdict(figures)

    def work(self, problem: AttentionProblem) -> dict[str, float]:
        shape = problem.shape
        # Two products forward; backward five more, of which one is the scores again: 2.5 times the forward pass.
        flop = 4 * shape.head_dim * shape.heads * problem.pairs * (3.5 if shape.backward else 1)
        density = problem.pairs / (shape.batch * shape.rows * shape.length)
        return {"pairs": problem.pairs, "density": density, "flop": flop}

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        return {"GFLOP/s": work["flop"] / seconds * 1e-9}


def _headline(shape: AttentionShape) -> bool:
    """The paper's batch, and packed documents forward and backward."""
    return shape.pattern == "mixed" or (shape.pattern == "packed" and shape.backward)


def _prepare(problem: AttentionProblem, impl: str, reason: str = "") -> Prepared:
    if reason:
        raise CannotRun(reason)
    if impl == "reference":
        refuse_large_scores(problem)

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Any) -> Tensor:
        return masked_attention(query, key, value, mask, impl=impl)

    pattern = problem.pattern
    build = None if pattern.mask_free and pattern.kind != "causal" else pattern.interval_mask
    return prepare_attention(problem, attend, build)
