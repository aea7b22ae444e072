"""``torch.nn.functional.scaled_dot_product_attention``: every backend, with a dense mask of either kind.

Where a pattern needs no mask (dense, causal) none is passed. For packed documents there is also what a careful user
does without any mask: one call a document.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.attention_problem import AttentionProblem, prepare_attention, refuse_large_scores
from benchmarks.contender import CannotRun, Case, Contender, Prepared
from benchmarks.patterns import Pattern

__all__ = ["contenders", "dense_mask"]

OWNER = "torch"
BACKENDS = {
    "default": None,
    "math": "MATH",
    "flash": "FLASH_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "cuDNN": "CUDNN_ATTENTION",
}
_CUDA_ONLY = ("efficient", "cuDNN")


def contenders(case: Case) -> list[Contender]:
    """One for every backend and kind of mask, and the loop over documents."""
    cache = case.settings["pattern"] == "cache"
    free = case.settings["pattern"] in ("dense", "causal") or (cache and case.settings["queries"] == 1)
    kinds = ("none",) if free else ("bool", "float")
    found = [
        Contender(_name(backend, kind), OWNER, functools.partial(_prepare, backend=backend, kind=kind))
        for backend in BACKENDS
        for kind in kinds
    ]
    if case.settings["pattern"].startswith("packed"):
        found.append(Contender("SDPA, one call a document", OWNER, _prepare_loop))
        found.append(Contender("torch varlen_attn", OWNER, _prepare_varlen))
    return found


def _name(backend: str, kind: str) -> str:
    return f"SDPA {backend}" if kind == "none" else f"SDPA {backend}, {kind} mask"


def dense_mask(pattern: Pattern, dtype: torch.dtype | None) -> Tensor:
    """``(B or 1, 1, S, S)`` bool, or additive in ``dtype``. Padding rows see every key, so that no row is empty: some
    backends give NaN for those."""
    if pattern.kind == "cache":
        visible = torch.ones((1, pattern.rows, pattern.length), dtype=torch.bool, device=pattern.device)
        visible = visible.tril(pattern.length - pattern.rows)
    else:
        visible = pattern.visible()
    empty = pattern.empty_rows()
    if empty is not None:
        visible = visible | empty.unsqueeze(2)
    visible = visible.unsqueeze(1)
    if dtype is None:
        return visible
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, -torch.inf)


def _chosen(backend: str) -> Any:
    if BACKENDS[backend] is None:
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel([getattr(SDPBackend, BACKENDS[backend])])


def _prepare(problem: AttentionProblem, backend: str, kind: str) -> Prepared:
    if backend in _CUDA_ONLY and problem.query.device.type != "cuda":
        raise CannotRun("needs CUDA")
    if backend == "math":
        refuse_large_scores(problem)
    pattern = problem.pattern
    causal = pattern.kind == "causal"

    grouped = problem.shape.group > 1

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (tensor.transpose(1, 2) for tensor in (query, key, value))
        with _chosen(backend):
            out = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=grouped
            )
        return out.transpose(1, 2)

    # A cache is in torch's own layout: views that take a share of a step's microseconds are made before.
    views = [tensor.detach().transpose(1, 2) for tensor in (problem.query, problem.key, problem.value)]

    def attend_cache(mask: Tensor | None) -> tuple[Tensor, ...]:
        with torch.no_grad(), _chosen(backend):
            return (functional.scaled_dot_product_attention(*views, attn_mask=mask, enable_gqa=grouped),)

    def build() -> Tensor:
        return dense_mask(pattern, problem.query.dtype if kind == "float" else None)

    prepared = prepare_attention(problem, attend, None if kind == "none" else build)
    if pattern.kind == "cache":
        prepared.run, prepared.outputs = attend_cache, lambda result: [out.transpose(1, 2) for out in result]
    if BACKENDS[backend] is not None:
        try:
            with warnings.catch_warnings():  # torch explains in warnings why a backend refuses
                warnings.simplefilter("ignore")
                prepared.run(prepared.build() if prepared.build else None)
        except RuntimeError as error:
            if "No available kernel" in str(error):
                raise CannotRun("this backend does not take these inputs") from error
            raise
    return prepared


def _prepare_loop(problem: AttentionProblem) -> Prepared:
    lengths = problem.pattern.document_lengths
    causal = problem.pattern.kind == "packed_causal"

    def attend(query: Tensor, key: Tensor, value: Tensor, _: None) -> Tensor:
        parts = zip(*(tensor.transpose(1, 2).split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
        outputs = [functional.scaled_dot_product_attention(q, k, v, is_causal=causal) for q, k, v in parts]
        return torch.cat(outputs, dim=2).transpose(1, 2)

    return prepare_attention(problem, attend)


def _prepare_varlen(problem: AttentionProblem) -> Prepared:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        raise CannotRun("this torch has no varlen_attn") from error
    if problem.query.device.type != "cuda":
        raise CannotRun("needs CUDA")
    pattern = problem.pattern
    longest = max(pattern.document_lengths)
    window = (-1, 0) if pattern.kind == "packed_causal" else (-1, -1)
    bounds = torch.tensor([0, *pattern.document_lengths], device=pattern.device).cumsum(0).to(torch.int32)

    def attend(query: Tensor, key: Tensor, value: Tensor, _: None) -> Tensor:
        q, k, v = query[0], key[0], value[0]
        return varlen_attn(q, k, v, bounds, bounds, longest, longest, window_size=window).unsqueeze(0)

    return prepare_attention(problem, attend)
