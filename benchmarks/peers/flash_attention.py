"""FlashAttention 2, 3 and 4: dense, causal, sliding window, and packed documents by their cumulative lengths.

Prefix language models and shared prefixes are not among their masks (version 4's ``mask_mod`` is for its own
block-sparse interface and left out here), so those rows say so.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from benchmarks.attention_problem import AttentionProblem, prepare_attention
from benchmarks.contender import CannotRun, Case, Contender, Prepared, optional_import

__all__ = ["contenders"]

# version -> (module with flash_attn_func and flash_attn_varlen_func, package)
VERSIONS = {
    2: ("flash_attn", "flash-attn"),
    3: ("flash_attn_interface", "flash-attn-3"),
    4: ("flash_attn.cute", "flash-attn-4"),
}


def contenders(case: Case) -> list[Contender]:
    return [
        Contender(f"FlashAttention-{version}", package, functools.partial(_prepare, version=version))
        for version, (_, package) in VERSIONS.items()
    ]


def _prepare(problem: AttentionProblem, version: int) -> Prepared:
    module, package = VERSIONS[version]
    library = optional_import(module, package)
    if problem.query.device.type != "cuda":
        raise CannotRun("needs CUDA")
    if problem.query.dtype == torch.float32:
        raise CannotRun("takes bfloat16 and float16 only")
    pattern = problem.pattern
    if pattern.kind not in ("dense", "causal", "packed", "packed_causal", "sliding_window"):
        raise CannotRun(f"has no mask for {pattern.kind}")
    options: dict[str, Any] = {"causal": pattern.kind in ("causal", "packed_causal", "sliding_window")}
    if pattern.kind == "sliding_window":
        options["window_size"] = (pattern.window, 0)
    packed = pattern.kind.startswith("packed")
    longest = max(pattern.document_lengths, default=0)

    def attend(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None) -> Tensor:
        if not packed:
            return _first(library.flash_attn_func(query, key, value, **options))
        lengths = {
            "cu_seqlens_q": bounds, "cu_seqlens_k": bounds, "max_seqlen_q": longest, "max_seqlen_k": longest,
        }  # fmt: skip
        return _first(library.flash_attn_varlen_func(query[0], key[0], value[0], **lengths, **options)).unsqueeze(0)

    def build() -> Tensor:
        counts = torch.tensor([0, *pattern.document_lengths], dtype=torch.int32)
        return counts.cumsum(0, dtype=torch.int32).to(pattern.device, non_blocking=True)

    return prepare_attention(problem, attend, build if packed else None)


def _first(result: Any) -> Tensor:
    """Versions 3 and 4 may return the log-sum-exp beside the output."""
    return result[0] if isinstance(result, tuple) else result
