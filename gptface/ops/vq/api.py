"""``vq_lookup``: the nearest codes of every row, without ever storing the row × code matrix."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops.derivatives import refuse_other_derivatives
from gptface.ops.vq import library as _registered  # noqa: F401  (defines the operator)
from gptface.ops.vq.choice import choose
from gptface.ops.vq.packed import Metric, PackedCodebook, Precision, check_codebook

__all__ = ["VQLookup", "vq_lookup"]


class VQLookup(NamedTuple):
    """What :func:`vq_lookup` found. ``...`` are the leading dimensions of ``x`` (with the group dimension, if any).

    Attributes:
        indices: int64 ``(...)``, or ``(..., topk)`` with ``topk > 1``, best first.
        counts: int64 ``(K,)`` or ``(G, K)``: how many rows have each code as their best. Rows that hold a NaN or an
            infinity are not counted.
        scores: the scores of ``indices``, same shape; float64 where an input is float64, else float32.
            ``None`` unless asked for.
        nearest_rows: int64 ``(K,)`` or ``(G, K)``: for every code the row (in the flattened leading dimensions) with
            the highest score for it, −1 where there is none. ``None`` unless asked for.
    """

    indices: Tensor
    counts: Tensor
    scores: Tensor | None
    nearest_rows: Tensor | None


def vq_lookup(
    x: Tensor,
    codebook: Tensor | PackedCodebook,
    *,
    metric: Metric = "euclidean",
    topk: int = 1,
    precision: Precision = "exact",
    return_scores: bool = False,
    nearest_rows: bool = False,
    impl: str = "auto",
) -> VQLookup:
    """Find for every row of ``x`` the ``topk`` best codes of ``codebook``.

    A **score** is larger for a better code, for every metric:

    - ``"euclidean"``: ``−‖x − c‖²`` (the negative squared distance);
    - ``"cosine"``: ``x·c / (‖x‖ ‖c‖)``, and 0 where a norm is 0;
    - ``"dot"``: ``x·c``.

    Candidates are ordered by score, best first; ties go to the lowest index. A row that holds a NaN or an infinity has
    index 0 and score NaN. A code that holds one ranks behind every finite code, with score −∞.

    Args:
        x: ``(..., D)`` floating point, any strides; grouped form ``(..., G, D)``.
        codebook: ``(K, D)`` floating point on the device of ``x``; grouped form ``(G, K, D)``, where group ``g`` of a
            row is looked up in the ``g``-th codebook. Or what ``pack_codebook`` made of one, for calls with few rows;
            results are the same, and no gradient goes to the codebook.
        metric: see above.
        topk: number of candidates, 1 to K.
        precision: the least accuracy wanted; an implementation may give more. ``"exact"`` is at least float32
            arithmetic (float64 for float64 inputs), whatever the global settings say: nothing is decided by TF32 or
            bfloat16 (the CPU kernel lets bfloat16 rule out codes, where a bound on its rounding proves that they
            cannot win). With the others the choice among near ties may differ; scores are always those of
            ``"exact"``. Which share of rows then differs from float64 truth: ``docs/performance/vq.md``.
        return_scores: also return the scores; differentiable with respect to ``x`` and ``codebook``.
        nearest_rows: also return, from the same pass, the row closest to each code. Rows that are equally close up to
            float32 rounding may stand for one another.
        impl: ``"auto"`` or a name from ``gptface.ops.implementations("vq_lookup")``.

    Returns:
        A :class:`VQLookup`. Extra memory is bounded by a constant plus O(N + K·D); the N×K matrix is never stored.

    Raises:
        InputError: wrong rank, dtype, device, group count or vector length, an empty codebook, ``topk`` outside
            1 to K, an unknown metric or precision, or not those for which the codebook was packed.
        ValueError, RuntimeError: an ``impl`` that is unknown, or that cannot run here.
    """
    packed = None
    if isinstance(codebook, PackedCodebook):
        packed = codebook
        _check_packed(packed, metric, precision)
        codebook = packed._codes
    _check(x, codebook, metric, topk, precision)
    impl, _ = choose(x, codebook, topk, nearest_rows, impl)

    words = None
    if packed is not None and impl == "cpu":
        codebook, words = packed._float32, packed._words
    grouped = codebook.ndim == 3
    length = x.shape[-1]
    if return_scores:
        refuse_other_derivatives("vq_lookup(return_scores=True)", x, codebook)
    else:
        x, codebook = x.detach(), codebook.detach()
    if grouped:
        groups = codebook.shape[0]
        leading = x.shape[:-2]
        rows = x.reshape(_product(leading), groups, length).transpose(0, 1)
        codes = codebook
    else:
        leading = x.shape[:-1]
        rows = x.reshape(1, _product(leading), length)
        codes = codebook.unsqueeze(0)

    scores, indices, counts, nearest = torch.ops.gptface.vq_lookup(
        rows, codes, metric, topk, precision, nearest_rows, impl, words
    )

    def shaped(found: Tensor) -> Tensor:
        found = found.transpose(0, 1).reshape(*leading, *codebook.shape[:-2], topk)
        return found.squeeze(-1) if topk == 1 else found

    if not grouped:
        counts, nearest = counts[0], nearest[0]
    return VQLookup(
        indices=shaped(indices),
        counts=counts,
        scores=shaped(scores) if return_scores else None,
        nearest_rows=nearest if nearest_rows else None,
    )


def _product(sizes: torch.Size) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _check_packed(packed: PackedCodebook, metric: str, precision: str) -> None:
    for name, wanted, made in (("metric", metric, packed.metric), ("precision", precision, packed.precision)):
        if wanted != made:
            raise InputError(
                f"vq_lookup: {name}={wanted!r}, but the codebook was packed for {name}={made!r}; "
                f"pass that, or pack it anew"
            )


def _check(x: Tensor, codebook: Tensor, metric: str, topk: int, precision: str) -> None:
    check_codebook("vq_lookup", codebook, metric, precision)
    if not x.is_floating_point():
        raise InputError(f"vq_lookup: x is {x.dtype} and codebook {codebook.dtype}; both must be floating point")
    if x.device != codebook.device:
        raise InputError(f"vq_lookup: x is on {x.device} and codebook on {codebook.device}; they must be on one device")
    if x.ndim < codebook.ndim - 1:
        form = "(..., G, D)" if codebook.ndim == 3 else "(..., D)"
        raise InputError(f"vq_lookup: x has shape {tuple(x.shape)}; with this codebook it must be {form}")
    if x.shape[-1] != codebook.shape[-1]:
        raise InputError(
            f"vq_lookup: x has shape {tuple(x.shape)} and codebook {tuple(codebook.shape)}; "
            f"the last dimensions must be equal"
        )
    if codebook.ndim == 3 and x.shape[-2] != codebook.shape[0]:
        raise InputError(
            f"vq_lookup: x has {x.shape[-2]} groups (shape {tuple(x.shape)}) and codebook {codebook.shape[0]} "
            f"(shape {tuple(codebook.shape)}); they must be equal"
        )
    if not 1 <= topk <= codebook.shape[-2]:
        raise InputError(f"vq_lookup: topk={topk}; allowed: 1 to the number of codes, {codebook.shape[-2]}")
