"""Cross-entropy at chosen positions only: masked text and image modelling, and next-token prediction with it.

Only the chosen rows are projected onto the vocabulary, so a batch whose loss falls on a tenth of its tokens pays for a
tenth of the logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.objectives.normalisation import divided
from gptface.ops import gather_rows

__all__ = ["gathered_cross_entropy", "gathered_token_losses"]


def gathered_token_losses(
    hidden: Tensor,
    positions: Tensor,
    labels: Tensor,
    project: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The loss of every chosen row, and whether its best guess was right.

    Args:
        hidden: ``(B, S, C)``, or rows ``(N, C)``.
        positions: ``(M,)`` int64, packed ``b * S + s``, or row numbers; −1 names no row.
        labels: ``(M,)`` int64; ignored where the position is −1.
        project: hidden rows ``(M, C)`` to logits ``(M, V)``, such as ``model.image_logits``.

    Returns:
        ``losses (M,)`` float32 and ``correct (M,)`` bool; 0 and ``False`` where the position is −1.
    """
    if hidden.ndim not in (2, 3):
        raise InputError(f"hidden must have shape (B, S, C) or (N, C), got {tuple(hidden.shape)}")
    if positions.ndim != 1 or positions.shape != labels.shape:
        raise InputError(
            f"positions and labels must be vectors of the same length, "
            f"got {tuple(positions.shape)} and {tuple(labels.shape)}"
        )
    chosen = positions >= 0
    logits = project(gather_rows(hidden, positions)).float()
    targets = torch.where(chosen, labels, 0)
    losses = functional.cross_entropy(logits, targets, reduction="none")
    correct = (logits.detach().argmax(-1) == targets) & chosen
    # where, not a product: an infinite loss in a row nobody asked for must not become NaN. It also stops the gradient
    # that the head's own parameters would get from a row of zeros.
    return torch.where(chosen, losses, 0.0), correct


def gathered_cross_entropy(
    hidden: Tensor,
    positions: Tensor,
    labels: Tensor,
    project: Callable[[Tensor], Tensor],
    *,
    weights: Tensor | None = None,
    normaliser: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and accuracy over the chosen rows; rows of −1 add nothing to loss, accuracy or gradient.

    Args:
        hidden, positions, labels, project: see :func:`gathered_token_losses`.
        weights: ``(M,)`` non-negative weight a row; the means are weighted by it.
        normaliser: scalar that the sums are divided by, in place of the number (or total weight) of the chosen rows:
            for a batch that is one of several of a step (:mod:`gptface.objectives.normalisation`).

    Returns:
        ``(loss, accuracy)``, float32 scalars on the device of ``hidden``; both 0 where no row is chosen.
    """
    losses, correct = gathered_token_losses(hidden, positions, labels, project)
    share = (positions >= 0).to(losses.dtype)
    if weights is not None:
        share = share * weights.to(losses.dtype)
    count = share.sum() if normaliser is None else normaliser
    return divided((losses * share).sum(), count), divided((correct * share).sum(), count)
