"""What the attention kernels have to get right: dtypes, head dimensions, intervals, groups, strides, dropout, NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gptface.diagnosis.attention_formulas import dense_attention, evaluations
from gptface.diagnosis.numerics import RMSE_LIMIT, error_by_rule, largest_by_rule, rmse_ratio
from gptface.diagnosis.prove.case import Case, Found, equal
from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention.reference import dropout_keep

__all__ = ["AttentionCase", "cases", "reach"]

RESULTS = ("out", "grad_query", "grad_key", "grad_value")
KERNEL_OF = {
    "out": "attention.forward",
    "lse": "attention.forward",
    "grad_query": "attention.grad_query",
    "grad_key": "attention.grad_key_value",
    "grad_value": "attention.grad_key_value",
}
BLOCK = 64  # queries and keys of a bounds block
SEED = 2**40 + 7


def reach(visible: Tensor, name: str, row: int) -> dict[str, Tensor]:
    """Which rows of each result a bad ``row`` of input ``name`` may reach: ``(Sq,)`` or ``(Skv,)`` bool.

    A bad query or gradient of the output reaches its own row, and gradients of the keys that it sees. A bad key or
    value reaches every row that sees it, and gradients of the keys that those see.

    Args:
        visible: ``(Sq, Skv)`` bool.
        name: ``"query"``, ``"key"``, ``"value"`` or ``"grad_out"``.
    """
    own = torch.arange(visible.shape[0], device=visible.device) == row
    queries = visible[:, row] if name in ("key", "value") else own
    keys = visible[queries].any(0)
    out = torch.zeros_like(queries) if name == "grad_out" else queries
    return {"out": out, "grad_query": queries, "grad_key": keys, "grad_value": keys}


@contextmanager
def _poisoned() -> Iterator[None]:
    """Fill what ``torch.empty`` returns with NaN: an element that nobody wrote cannot pass."""
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    memory.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filling


@dataclass(frozen=True)
class AttentionCase(Case):
    """One call, forward and backward, twice; in some cases once more with a NaN in a row.

    Attributes:
        dtype: ``"bfloat16"``, ``"float16"`` or ``"float32"``.
        head_dim: D.
        batch, queries, keys, heads, key_heads: B, Sq, Skv, H, Hkv.
        mask: ``"none"``, ``"causal"``, ``"prefix"``, ``"packed"``, ``"window"``, ``"random 1"`` or ``"random 2"``
            (intervals a row).
        dropout: probability.
        strided: queries, keys and values are views of one projection, of rows that are no multiple of eight.
        lse: the log-sum-exp is returned, and differentiated through.
        contained: a NaN in a row stays with what sees it.
        offset: common to all keys and values.
    """

    dtype: str = "bfloat16"
    head_dim: int = 64
    batch: int = 2
    queries: int = 197
    keys: int = 197
    heads: int = 2
    key_heads: int = 2
    mask: str = "prefix"
    dropout: float = 0.0
    strided: bool = False
    lse: bool = False
    contained: bool = False
    offset: float = 0.0

    def kernels(self) -> tuple[str, ...]:
        bounds = () if self.mask == "none" else ("attention.bounds",)
        return (*dict.fromkeys(KERNEL_OF.values()), *bounds)

    def weight(self) -> float:
        passes = 1.0 if self.mask == "none" else 2.0
        return passes * (1.8 if self.dtype == "float32" else 1.0) * (1.0 + self.head_dim / 256)

    def small(self) -> AttentionCase:
        """The same over fewer rows and one sample, for the interpreter."""
        queries = min(self.queries, 29 if self.mask in ("causal", "prefix", "packed", "window") else 23)
        return replace(self, batch=1, queries=queries, keys=min(self.keys, 29))

    def inputs(self, device: str) -> tuple[list[Tensor], IntervalMask | None]:
        """Query, key, value and gradient of the output; and the mask."""
        generator = torch.Generator().manual_seed(self.head_dim + self.queries)
        dtype = getattr(torch, self.dtype)
        q, k = (self.queries, self.heads), (self.keys, self.key_heads)

        def draw(rows: int, heads: int, offset: float) -> Tensor:
            # A row more than a head needs: the strides of a view are then no multiple of eight.
            width = heads * self.head_dim + int(self.strided)
            whole = torch.randn(self.batch, rows, width, generator=generator, dtype=torch.float64) + offset
            whole = whole.to(dtype).to(device)
            return whole[..., : heads * self.head_dim].unflatten(-1, (heads, self.head_dim))

        tensors = [draw(*q, 0.0), draw(*k, self.offset), draw(*k, self.offset), draw(*q, 0.0)]
        mask = self._mask(generator)
        return tensors, None if mask is None else mask.to(device)

    def _mask(self, generator: torch.Generator) -> IntervalMask | None:
        queries, keys = self.queries, self.keys
        if self.mask == "none":
            return None
        if self.mask == "causal":
            return IntervalMask.causal(queries)
        if self.mask == "prefix":
            lengths = keys - 5 * torch.arange(self.batch)
            return IntervalMask.prefix_lm(lengths // 3, lengths, keys)
        if self.mask == "packed":
            return IntervalMask.packed(document_ids=torch.arange(queries) * 5 // queries, causal=True)
        if self.mask == "window":
            return IntervalMask.sliding_window(queries, queries // 7, queries // 11, global_tokens=3, symmetric=True)
        k = int(self.mask.split()[1])
        bounds = torch.randint(0, keys + 1, (self.batch, queries, k, 2), generator=generator).sort(-1).values
        keep = torch.rand(self.batch, queries, 1, 1, generator=generator) < 0.75  # the others see nothing
        return IntervalMask((bounds * keep).to(torch.int32), keys)

    def run(self, device: str) -> list[Found]:
        tensors, mask = self.inputs(device)
        found = [] if mask is None else [Found("attention.bounds", "hulls and cores of blocks", _bounds_error(mask))]
        with _poisoned():
            first, second = self._call(tensors, mask), self._call(tensors, mask)
        found += self._compared(tensors, mask, first)
        for name, kernel in KERNEL_OF.items():
            if name in first:
                found.append(equal(kernel, f"{name}, run twice", (first[name], second[name])))
        if self.contained and mask is not None:
            found += self._contained(tensors, mask, first)
        return found

    def _call(self, tensors: list[Tensor], mask: IntervalMask | None) -> dict[str, Tensor]:
        query, key, value = leaves = [tensor.detach().requires_grad_() for tensor in tensors[:3]]
        out, lse = masked_attention(
            query, key, value, mask, dropout_p=self.dropout, seed=SEED, return_lse=True, impl="triton"
        )
        gradients = torch.autograd.grad(self._loss_terms(out, lse), leaves, self._loss_gradients(tensors[3], lse))
        results = {"out": out.detach(), **dict(zip(RESULTS[1:], gradients, strict=True))}
        return {**results, "lse": lse.detach()} if self.lse else results

    def _loss_terms(self, out: Tensor, lse: Tensor) -> list[Tensor]:
        return [out, torch.where(lse.detach() > -torch.inf, lse, 0.0)] if self.lse else [out]

    def _loss_gradients(self, grad_out: Tensor, lse: Tensor) -> list[Tensor]:
        """Of the output, and of the log-sum-exp: any numbers, the same for every dtype."""
        slope = torch.linspace(-1, 1, lse.numel(), dtype=torch.float64, device=lse.device).view(lse.shape)
        return [grad_out, slope.to(lse.dtype)] if self.lse else [grad_out]

    def _compared(self, tensors: list[Tensor], mask: IntervalMask | None, mine: dict[str, Tensor]) -> list[Found]:
        visible = None if mask is None else mask.to_dense()
        factor = None
        if self.dropout:
            shape = (self.batch, self.heads, self.queries, self.keys)
            keep = dropout_keep(torch.tensor(SEED, device=tensors[0].device), self.dropout, *shape)
            factor = keep.double() / (1 - self.dropout)
        oracle = self._dense(tensors, visible, torch.float64, factor)
        plain = [self._dense(tensors, visible, tensors[0].dtype, factor)]
        if self.dtype == "float32" and not self.lse:
            query, key, value, grad_out = tensors
            plain += evaluations(query, key, value, grad_out, visible, self.head_dim**-0.5, factor, "softmax")
        found = []
        for name in (*RESULTS, *(("lse",) if self.lse else ())):
            result, exact, own = mine[name], oracle[name], [each[name] for each in plain]
            if name == "lse":
                seen = exact > -torch.inf
                found.append(equal("attention.forward", "lse of rows that see nothing", (result > -torch.inf, seen)))
                result, exact = result[seen], exact[seen]
                error = rmse_ratio(result, exact) / RMSE_LIMIT[torch.float32]
            elif self.lse and self.dtype == "float32":
                error = rmse_ratio(result, exact) / RMSE_LIMIT[torch.float32]  # no yardstick has a slope of the lse
            elif self.offset:  # gradients are small differences of large terms: no error relative to them
                largest, allowed = largest_by_rule(result, own, exact)
                error = largest / allowed
            else:
                error = error_by_rule(result, own, exact)
            found.append(Found(KERNEL_OF[name], name, error if error == error else math.inf))
        return found

    def _dense(
        self, tensors: list[Tensor], visible: Tensor | None, dtype: torch.dtype, factor: Tensor | None
    ) -> dict[str, Tensor]:
        query, key, value = leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors[:3]]
        factor = None if factor is None else factor.to(dtype)
        out, lse = dense_attention(query, key, value, visible, self.head_dim**-0.5, factor)
        slopes = self._loss_gradients(tensors[3].to(dtype), lse)
        gradients = torch.autograd.grad(self._loss_terms(out, lse), leaves, slopes)
        return {"out": out.detach(), "lse": lse.detach(), **dict(zip(RESULTS[1:], gradients, strict=True))}

    def _contained(self, tensors: list[Tensor], mask: IntervalMask, clean: dict[str, Tensor]) -> list[Found]:
        """A NaN in the last head of one row of each input changes no bit that is out of its reach."""
        visible = mask.to_dense()[0]
        row = int(visible.any(1).nonzero().flatten()[-2])
        key = int(visible[row].nonzero().flatten()[-1])
        found = []
        for position, name in enumerate(("query", "key", "value", "grad_out")):
            changed = [tensor.clone() for tensor in tensors]
            changed[position][0, key if name in ("key", "value") else row, -1, 5] = torch.nan
            got = self._call(changed, mask)
            allowed = reach(visible, name, key if name in ("key", "value") else row)
            for result in RESULTS:
                far = ~allowed[result]
                what = f"{result} beyond the reach of a NaN in {name}"
                found.append(equal(KERNEL_OF[result], what, (got[result][0, far], clean[result][0, far])))
        return found


def _bounds_error(mask: IntervalMask) -> float:
    """0 where what is visible lies in a hull and what lies in a core is visible, for row and key blocks; else inf."""
    from gptface.kernels.attention import block_bounds

    rows, columns = (table.cpu() for table in block_bounds(mask.intervals, mask.num_keys))
    dense = mask.to_dense().cpu()
    queries, keys = dense.shape[1:]
    for sample in range(dense.shape[0]):
        for tables, unit, size, seen_by in ((rows, 1, keys, dense[sample]), (columns, BLOCK, queries, dense[sample].T)):
            for block, entries in enumerate(tables[sample if len(tables) > 1 else 0].tolist()):
                seen = seen_by[block * BLOCK : (block + 1) * BLOCK]
                hull = torch.zeros(size, dtype=torch.bool)
                for low, high, core_low, core_high in entries:
                    hull[low * unit : max(low, high) * unit] = True
                    core = seen[:, core_low * unit : max(core_low, core_high) * unit]
                    if not core.all() or (core_high > core_low and core_high * unit > size):
                        return math.inf
                if seen[:, ~hull].any():
                    return math.inf
    return 0.0


def cases() -> list[AttentionCase]:
    """The hard set. Each is a compilation or six; few differ in more than what the name says."""

    def case(name: str, **options: Any) -> AttentionCase:
        return AttentionCase(name, **options)

    half, single = {"dtype": "float16"}, {"dtype": "float32", "queries": 131, "keys": 131}
    long = {"queries": 601, "keys": 601}
    return [
        case("bfloat16, 64, prefix", contained=True),
        case("bfloat16, 64, no mask", mask="none", queries=139, keys=167),
        case("bfloat16, 64, packed, long", mask="packed", batch=1, contained=True, **long),
        case("bfloat16, 64, two intervals, groups of 3, dropout", mask="random 2", heads=6, keys=211, dropout=0.3),
        case("bfloat16, 64, strided", mask="random 1", strided=True, queries=137, keys=149),
        case("bfloat16, 64, one query", mask="random 2", batch=3, queries=1, keys=203, heads=4),
        case("bfloat16, 64, offset", mask="random 1", batch=1, offset=8.0),
        case("bfloat16, 16, causal, long", head_dim=16, mask="causal", **long),
        case("bfloat16, 32, window", head_dim=32, mask="window"),
        case("bfloat16, 80, causal", head_dim=80, mask="causal", queries=149, keys=149),
        case("bfloat16, 128, prefix, groups of 2", head_dim=128, heads=4),
        case("bfloat16, 128, two intervals, long", head_dim=128, mask="random 2", batch=1, **long),
        case("bfloat16, 256, prefix", head_dim=256, queries=131, keys=131),
        case("float16, 64, two intervals, lse", mask="random 2", contained=True, lse=True, **half),
        case("float16, 128, prefix, long", head_dim=128, batch=1, **half, **long),
        case("float32, 64, prefix, lse", contained=True, lse=True, **single),
        case("float32, 64, two intervals, groups of 3, dropout", mask="random 2", heads=6, dropout=0.3, **single),
        case("float32, 64, no mask", mask="none", **single),
        case("float32, 16, window", head_dim=16, mask="window", **single),
        case("float32, 40, packed", head_dim=40, mask="packed", **single),
        case("float32, 128, random", head_dim=128, mask="random 1", heads=4, **single),
        case("float32, 256, prefix", head_dim=256, dtype="float32", queries=61, keys=61),
    ]
