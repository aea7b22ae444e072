"""What the lookup kernels have to get right: indices, ties, offsets, ``topk``, groups, strides, what is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gptface.diagnosis.numerics import error_by_rule
from gptface.diagnosis.prove.case import Case, Found, equal
from gptface.ops import VQLookup, vq_lookup

__all__ = ["LookupCase", "cases"]

# Share of rows whose index may differ from float64's: what docs/performance/vq.md says of the lower precisions.
MAY_DIFFER = {"exact": 0.0, "tf32x3": 0.001, "tf32": 0.01, "bf16": 0.1}


@dataclass(frozen=True)
class LookupCase(Case):
    """One lookup, twice, against float64.

    Attributes:
        impl: ``"triton"`` or ``"cuda"``.
        dtype: of rows and codes.
        groups, rows, codes, length: G (0: none), N, K, D.
        metric, topk, precision: as the operator's.
        nearest: the row nearest to each code is asked for.
        offset: common to all rows and codes.
        repeats: every code stands this many times in the codebook: ties, which go to the lowest index.
        strided: rows are read from an image whose channels come first.
        bad: some rows and codes hold a NaN or an infinity.
    """

    impl: str = "triton"
    dtype: str = "float32"
    groups: int = 0
    rows: int = 1003
    codes: int = 517
    length: int = 64
    metric: str = "euclidean"
    topk: int = 1
    precision: str = "exact"
    nearest: bool = False
    offset: float = 0.0
    repeats: int = 1
    strided: bool = False
    bad: bool = False

    def kernels(self) -> tuple[str, ...]:
        return ("vq.cuda",) if self.impl == "cuda" else ("vq.nominate", "vq.decide")

    def weight(self) -> float:
        return 0.1 if self.impl == "cuda" else 1.0

    def small(self) -> LookupCase:
        """The same over fewer rows and codes, for the interpreter."""
        return replace(self, rows=min(self.rows, 37), codes=min(self.codes, 71))

    def inputs(self, device: str) -> tuple[Tensor, Tensor]:
        """Rows and codes."""
        generator = torch.Generator().manual_seed(self.rows + self.length)
        dtype = getattr(torch, self.dtype)
        shape = (self.rows, self.groups, self.length) if self.groups else (self.rows, self.length)
        x = torch.randn(shape, generator=generator, dtype=torch.float64) + self.offset
        grouped = (self.groups,) if self.groups else ()
        codes = torch.randn(
            (*grouped, -(-self.codes // self.repeats), self.length), generator=generator, dtype=torch.float64
        )
        codes = (codes + self.offset).repeat(*(1 for _ in grouped), self.repeats, 1)
        if self.bad:
            x[1, ..., 2], x[3, ..., 0], codes[..., 0, 0], codes[..., 2, -1] = torch.nan, torch.inf, torch.nan, torch.inf
        x, codes = x.to(dtype).to(device), codes.to(dtype).to(device)
        if self.strided:
            x = x.movedim(0, -1).contiguous().movedim(-1, 0)
        return x, codes

    def run(self, device: str) -> list[Found]:
        x, codes = self.inputs(device)
        options: dict[str, Any] = {"metric": self.metric, "topk": self.topk, "return_scores": True}
        asked = {**options, "nearest_rows": self.nearest, "precision": self.precision, "impl": self.impl}
        first, second = (vq_lookup(x, codes, **asked) for _ in range(2))
        exact = vq_lookup(x.double(), codes.double(), nearest_rows=self.nearest, impl="reference", **options)
        plain = vq_lookup(x, codes, impl="reference", **options)
        nominate, decide = self.kernels()[0], self.kernels()[-1]
        found = [
            Found(nominate, "indices", self._indices_error(first, exact)),
            Found(decide, "scores of the codes that were chosen", self._scores_error(x, codes, first, plain, exact)),
            equal(decide, "counts of the codes that were chosen", (first.counts, self._counts(x, first))),
            equal(nominate, "indices, run twice", (first.indices, second.indices)),
            equal(decide, "counts and scores, run twice", (first.counts, second.counts),
                  (_finite(first.scores), _finite(second.scores))),
        ]  # fmt: skip
        if self.nearest:
            found.append(equal(nominate, "nearest rows", (first.nearest_rows, exact.nearest_rows)))
            found.append(equal(nominate, "nearest rows, run twice", (first.nearest_rows, second.nearest_rows)))
        return found

    def _indices_error(self, mine: VQLookup, exact: VQLookup) -> float:
        differs = float((mine.indices != exact.indices).double().mean())
        allowed = MAY_DIFFER[self.precision]
        if allowed == 0.0:
            return 0.0 if differs == 0.0 else math.inf
        return differs / allowed

    def _scores_error(self, x: Tensor, codes: Tensor, mine: VQLookup, plain: VQLookup, exact: VQLookup) -> float:
        """Of the scores as those of the chosen codes, right or wrong ones: that is what ``decide`` answers for."""
        assert mine.scores is not None and plain.scores is not None and exact.scores is not None
        same = mine.indices == exact.indices
        usable = same & exact.scores.isfinite()
        if not bool((mine.scores.isfinite() == exact.scores.isfinite())[same].all()):
            return math.inf
        own_yardstick = torch.where(plain.indices == exact.indices, plain.scores.double(), exact.scores)
        error = error_by_rule(mine.scores[usable], own_yardstick[usable], exact.scores[usable].double())
        if bool(same.all()):
            return error
        # Wrong indices: their scores are compared with float64's of the same codes.
        wide, rows = codes.double(), x.double()
        chosen = mine.indices if self.topk > 1 else mine.indices.unsqueeze(-1)
        picked = wide[chosen] if not self.groups else torch.stack(
            [wide[group][chosen[:, group]] for group in range(self.groups)], 1
        )  # fmt: skip
        true = _score(rows.unsqueeze(-2), picked, self.metric)
        true = true if self.topk > 1 else true.squeeze(-1)
        wrong = ~same & true.isfinite()
        gap = (mine.scores[wrong].double() - true[wrong]).abs() / (true[wrong].abs() + 1.0)
        return max(error, float(gap.max() / 1e-5) if gap.numel() else 0.0)

    def _counts(self, x: Tensor, mine: VQLookup) -> Tensor:
        best = mine.indices[..., 0] if self.topk > 1 else mine.indices
        rows = x.double().isfinite().all(-1)
        counts = torch.zeros_like(mine.counts)
        for group in range(max(self.groups, 1)):
            own = (best[:, group], rows[:, group], counts[group]) if self.groups else (best, rows, counts)
            own[2].copy_(torch.bincount(own[0][own[1]], minlength=mine.counts.shape[-1]))
        return counts


def _score(x: Tensor, codes: Tensor, metric: str) -> Tensor:
    if metric == "euclidean":
        return -(x - codes).square().sum(-1)
    product = (x * codes).sum(-1)
    return product if metric == "dot" else product / (x.norm(dim=-1) * codes.norm(dim=-1))


def _finite(scores: Tensor | None) -> Tensor | None:
    return None if scores is None else torch.nan_to_num(scores, nan=1e30)


def triton_cases() -> list[LookupCase]:
    return [
        LookupCase("float32, 64", nearest=True),
        LookupCase("float32, 32, topk 5, cosine", rows=300, codes=1025, length=32, topk=5, metric="cosine"),
        LookupCase("float32, 100, topk 16, dot", rows=129, codes=257, length=100, topk=16, metric="dot"),
        LookupCase("float32, 256", rows=77, codes=1000, length=256, nearest=True),
        LookupCase("float32, 8, few rows", rows=5, codes=19, length=8, topk=2),
        LookupCase("float32, 64, offset", rows=500, codes=257, offset=1e4),
        LookupCase("float32, 64, ties, topk 3", rows=300, codes=585, repeats=117, topk=3),
        LookupCase("float32, 32, not finite", rows=200, codes=70, length=32, topk=2, nearest=True, bad=True),
        LookupCase("float32, 24, groups, strided", groups=3, rows=211, codes=140, length=24, strided=True),
        LookupCase("bfloat16, 64", dtype="bfloat16", metric="cosine", nearest=True),
        LookupCase("float16, 64", dtype="float16"),
        LookupCase("float32, 128, tf32x3", rows=4096, codes=1024, length=128, precision="tf32x3"),
        LookupCase("float32, 128, tf32", rows=4096, codes=1024, length=128, precision="tf32"),
        LookupCase("float32, 128, bf16", rows=4096, codes=1024, length=128, precision="bf16"),
    ]


def cuda_cases() -> list[LookupCase]:
    found = []
    for dtype in ("float32", "bfloat16", "float16"):
        for metric, length in (("euclidean", 4), ("cosine", 8), ("dot", 13), ("euclidean", 32)):
            found.append(LookupCase(f"{dtype}, {length}, {metric}", "cuda", dtype, 0, 5000, 3001, length, metric))
    plain: dict[str, Any] = {"impl": "cuda", "length": 8}
    return [
        *found,
        LookupCase("float32, 8, offset", rows=500, codes=257, offset=1e4, **plain),
        LookupCase("float32, 8, ties", rows=300, codes=2005, repeats=401, **plain),
        LookupCase("float32, 8, groups, strided, not finite", groups=3, rows=126, codes=140, strided=True, bad=True,
                   **plain),
        LookupCase("float32, 8, one row", rows=1, codes=19, **plain),
    ]  # fmt: skip


def cases(impl: str) -> list[LookupCase]:
    """The hard set of one implementation."""
    return triton_cases() if impl == "triton" else cuda_cases()
