"""``compute_mask_indices`` in the call convention of fairseq (wav2vec 2.0, HuBERT, data2vec), with counts that are met.

Change the import, keep the rest::

    from gptface.integrations.fairseq import compute_mask_indices
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import Fixed, Normal, Poisson, TextSpans, Uniform, sample_span_mask
from gptface.ops.span_mask.laws import Lengths

__all__ = ["compute_mask_indices"]


def _on_host(values: Any) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def compute_mask_indices(
    shape: tuple[int, int],
    padding_mask: Any,
    mask_prob: float,
    mask_length: int,
    mask_type: str = "static",
    mask_other: float = 0.0,
    min_masks: int = 0,
    no_overlap: bool = False,
    min_space: int = 0,
    require_same_masks: bool = True,
    mask_dropout: float = 0.0,
    add_masks: bool = False,
    seed: int | None = None,
    epoch: int | None = None,
    indices: Any = None,
    idc_select_ver: int = 1,
    num_mask_ver: int = 2,
) -> np.ndarray:
    """Masks of a batch of sequences: bool ``(B, T)``.

    A row with n positions that are not padding has ``round(mask_prob · n)`` of them masked, exactly; the original takes
    ``mask_prob`` for that share too but lets spans overlap or drops them, so it masks fewer. Spans here never overlap;
    each position is as likely as any other (:class:`gptface.ops.TextSpans` states the law).

    Args:
        shape: ``(B, T)``.
        padding_mask: ``(B, T)``, true where there is padding (an array or a tensor, on a device it is waited for), or
            ``None``.
        mask_prob: share of the positions to be masked.
        mask_length: length of a span, by ``mask_type``: all of that length (``"static"``), uniform from ``mask_other``
            to ``2 · mask_length`` (``"uniform"``), or with that mean normal, of standard deviation ``mask_other``, or
            Poisson (``"normal"``, ``"poisson"``; lengths from 1 to 128).
        mask_other: see ``mask_type``.
        min_masks: every row has at least ``min_masks · mask_length`` masked positions, or all but one where it is too
            short for so many.
        no_overlap, min_space: with ``no_overlap`` at least ``min_space`` unmasked positions between two spans, as far
            as the count leaves room.
        require_same_masks: lower every row's count to the smallest of the batch.
        seed, epoch, indices: key of the draws: a row with the same (seed, epoch, index) has the same mask in any batch.
            Without them the key is drawn from NumPy's global generator, as the original draws its spans.
        idc_select_ver, num_mask_ver: variants of the original's counting; without effect, the count is always exact.

    Raises:
        InputError: ``mask_dropout`` or ``add_masks``, which are not offered; an argument out of range.
    """
    if mask_dropout or add_masks:
        raise InputError("compute_mask_indices: mask_dropout and add_masks are not offered; leave them at 0 and False")
    batch, length = int(shape[0]), int(shape[1])
    laws: dict[str, Callable[[], Lengths]] = {
        "static": lambda: Fixed(mask_length),
        "normal": lambda: (
            Normal(float(mask_length), float(mask_other), min(128, math.ceil(mask_length + 6 * mask_other) + 1))
            if mask_other
            else Fixed(mask_length)
        ),
        "uniform": lambda: Uniform(max(1, int(mask_other)), 2 * mask_length),
        "poisson": lambda: Poisson(float(mask_length), min(128, 4 * mask_length + 8)),
    }
    if mask_type not in laws:
        raise InputError(f"compute_mask_indices: mask_type is {mask_type!r}; allowed: {', '.join(map(repr, laws))}")
    law, gap = laws[mask_type](), min_space if no_overlap else 0
    TextSpans(mask_prob, law, gap)  # checks the three

    inside = np.ones((batch, length), bool) if padding_mask is None else ~_on_host(padding_mask).astype(bool)
    if inside.shape != (batch, length):
        raise InputError(f"compute_mask_indices: padding_mask has shape {inside.shape}; shape says {(batch, length)}")
    sizes = inside.sum(1)
    least = min_masks * mask_length  # which alone never hides a whole row: nothing could be learnt from that
    counts = np.array([max(round(mask_prob * n), min(least, n - 1)) for n in sizes.tolist()], np.int64)
    if require_same_masks and batch:
        counts[:] = counts.min()
    if indices is None or seed is None:
        ids = np.random.randint(0, 2**63 - 1, batch)  # noqa: NPY002 (the caller's seeding is of this generator)
        key, step = seed or 0, 0
    else:
        ids, key, step = _on_host(indices).astype(np.int64), seed, epoch or 0

    mask = np.zeros((batch, length), bool)
    for n, count in {*zip(sizes.tolist(), counts.tolist(), strict=True)}:
        rows = np.flatnonzero((sizes == n) & (counts == count))
        if count:  # rows of one size and one count share a specification
            spec = TextSpans(count / n, law, gap)
            mask[rows] = sample_span_mask(spec, inside[rows], seed=key, step=step, sample_ids=ids[rows]).mask
    return mask
