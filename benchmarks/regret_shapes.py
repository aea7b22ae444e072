"""Calls among which ``impl="auto"`` must never choose badly: what users of attention and lookup have, short to long."""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks.contender import Scale
from benchmarks.shapes import DOCUMENTS, PAPER, AttentionShape, LookupShape, lookup_shapes

__all__ = ["regret_attention_shapes", "regret_lookup_shapes"]

# Vision transformers and masked autoencoders: 36 visible of 144 patches and all of them, 64, 14² + 1, 16² + 1 tokens.
# Batches as large as keep a call under a tenth of a second on one core.
SHORT = ((32, 36, 6, 32), (32, 64, 6, 32), (16, 144, 4, 32), (8, 197, 6, 64), (4, 257, 12, 64))
MORE_SHORT = (
    (1, 36, 6, 32), (128, 36, 6, 32), (128, 64, 6, 64), (128, 144, 4, 32), (64, 197, 6, 64), (32, 257, 12, 64),
)  # fmt: skip
# A step of generation: queries, keys, groups.
STEPS = tuple(itertools.product((1, 4, 16), (96, 1088, 4096), (1, 4)))
MORE_STEPS = tuple(itertools.product((1, 2, 4, 8, 12, 16), (96, 256, 1088, 4096), (1, 4)))


def regret_attention_shapes(scale: Scale) -> list[AttentionShape]:
    """Attention of the ``regret`` subject, both dtypes, forward and with backward where there is one."""
    if scale == "miniature":
        small: dict[str, Any] = {"heads": 2, "head_dim": 16}
        return [
            AttentionShape("dense", 2, 36, **small),
            AttentionShape("packed", 1, 64, **small, options={"shortest": 5, "longest": 20}),
            _cache(1, 1, 48, 4, "float32", head_dim=16),
            _cache(2, 3, 48, 2, "bfloat16", head_dim=16),
        ]
    full = scale == "full"
    shapes: list[AttentionShape] = []
    for dtype in ("float32", "bfloat16"):
        for batch, length, heads, width in (*SHORT, *(MORE_SHORT if full else ())):
            shapes += _both("dense", batch, length, heads=heads, head_dim=width, dtype=dtype)
        for queries, length, groups in MORE_STEPS if full else STEPS:
            shapes.append(_cache(1, queries, length, groups, dtype))
        shapes.append(_cache(1, 1, 1088, 4, dtype, head_dim=128))
        if full:
            shapes += [_cache(8, 1, 1088, groups, dtype, head_dim=128) for groups in (1, 4)]
        shapes += _both(**{**PAPER, "batch": 8 if full else 2}, dtype=dtype)
        for length in (1024, 4096) if full else (1024,):
            shapes += _both("packed", 1, length, dtype=dtype, heads=12 if full else 6, options=DOCUMENTS)
            shapes += _both("packed_causal", 1, length, dtype=dtype, heads=12 if full else 6, options=DOCUMENTS)
            shapes += _both("prefix_lm", 1, length, dtype=dtype, heads=4, options={"prefix": length // 4})
        longer = ((128, 64), (334, 64), (1024, 64), (1024, 128), (1024, 32), (2048, 64), (4096, 64))
        for (length, width), pattern in itertools.product(
            longer if full else ((334, 64), (1024, 64), (1024, 128)), ("dense", "causal")
        ):
            shapes += _both(pattern, max(1, 1024 // length), length, heads=4, head_dim=width, dtype=dtype)
    return shapes


def regret_lookup_shapes(scale: Scale) -> list[LookupShape]:
    """Lookups of the ``regret`` subject."""
    shapes = [shape for shape in lookup_shapes(scale, "cpu") if not shape.step]
    if scale != "full":
        return shapes
    return [shape for shape in shapes if shape.rows * shape.codes * shape.length <= 1 << 34]  # a second or two a call


def _both(pattern: str, batch: int, length: int, **options: Any) -> list[AttentionShape]:
    return [AttentionShape(pattern, batch, length, backward=backward, **options) for backward in (False, True)]


def _cache(batch: int, queries: int, length: int, groups: int, dtype: str, head_dim: int = 64) -> AttentionShape:
    return AttentionShape(
        "cache", batch, length, heads=8, head_dim=head_dim, dtype=dtype, backward=False, queries=queries,
        key_heads=8 // groups,
    )  # fmt: skip
