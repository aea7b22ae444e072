"""Draws and the comparison with the definition that all implementations of ``vq_lookup`` are held to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gptface.ops import VQLookup, vq_lookup
from tests.helpers.numerics import assert_matches_oracle

METRICS = ("euclidean", "cosine", "dot")


def draw(*shape: int, seed: int, offset: float = 0.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + offset).to(dtype)


def assert_is_the_definition(x: Tensor, codebook: Tensor, found: VQLookup, metric: Any, topk: int) -> None:
    """Indices, counts and nearest rows are those of float64; scores are as good as float32 can be."""
    options: dict[str, Any] = {"metric": metric, "topk": topk, "return_scores": True, "impl": "reference"}
    exact = vq_lookup(x.double(), codebook.double(), nearest_rows=True, **options)
    reference = vq_lookup(x, codebook, **options)
    assert torch.equal(found.indices, exact.indices)
    assert torch.equal(found.counts, exact.counts)
    if found.nearest_rows is not None:
        assert torch.equal(found.nearest_rows, exact.nearest_rows)
    assert found.scores is not None and reference.scores is not None and exact.scores is not None
    assert_matches_oracle("scores", found.scores, reference.scores, exact.scores)
