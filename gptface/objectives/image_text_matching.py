"""Image–text matching: does this caption belong to this picture?

The negatives come from the batch: a picture is paired with another sample's caption, drawn at random or by similarity.
Draws are keyed by (seed, step, identity of the two samples), so they depend neither on the order of the batch nor on
the device, and nothing here asks the host.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.integers import whole_number
from gptface.objectives.normalisation import divided
from gptface.ops.philox import philox4x32

__all__ = [
    "Negatives",
    "contrastive_loss",
    "hard_negatives",
    "match_loss",
    "random_negatives",
    "same_captions",
]

_WORD = 0xFFFFFFFF


class Negatives(NamedTuple):
    """Whose caption each sample gets instead of its own.

    Attributes:
        indices: ``(B,)`` int64, rows of the batch; the sample's own row where it has no negative.
        valid: ``(B,)`` bool, whether the sample has a negative at all.
    """

    indices: Tensor
    valid: Tensor


def match_loss(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, normaliser: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Two-way cross-entropy and accuracy.

    Args:
        logits: ``(B, 2)``; class 1 means "match".
        labels: ``(B,)`` int64 or bool.
        weights: ``(B,)`` non-negative; 0 leaves a pair out.
        normaliser: scalar that the sums are divided by, in place of the total weight: for a batch that is one of
            several of a step (:mod:`gptface.objectives.normalisation`).

    Returns:
        ``(loss, accuracy)``, float32 scalars, both 0 where all weights are.
    """
    if logits.ndim != 2 or logits.shape[1] != 2 or labels.shape != logits.shape[:1]:
        raise InputError(
            f"logits must have shape (B, 2) and labels (B,), got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    scores = logits.float()
    targets = labels.long()
    losses = functional.cross_entropy(scores, targets, reduction="none")
    correct = (scores.detach().argmax(-1) == targets).to(scores.dtype)
    share = torch.ones_like(losses) if weights is None else weights.to(scores.dtype)
    count = share.sum() if normaliser is None else normaliser
    return divided((losses * share).sum(), count), divided((correct * share).sum(), count)


def contrastive_loss(
    similarities: Tensor, same: Tensor, valid: Tensor, normaliser: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Symmetric InfoNCE (CLIP, arXiv 2103.00020): each picture picks its caption among all, each caption its picture.

    Args:
        similarities: ``(B, B)``, picture i and caption j, over the temperature.
        same: ``(B, B)`` bool, :func:`same_captions`: an equal caption of another sample is no wrong answer and is left
            out.
        valid: ``(B,)`` bool, pairs that have a caption; the others neither ask nor answer.
        normaliser: scalar that the sums are divided by, in place of the number of valid pairs: for a batch that is one
            of several of a step (:mod:`gptface.objectives.normalisation`). Each pair still picks within its own batch.

    Returns:
        ``(loss, accuracy)``, float32 scalars; accuracy is that of pictures picking captions.
    """
    pairs = similarities.shape[0]
    if similarities.shape != (pairs, pairs) or same.shape != similarities.shape or valid.shape != (pairs,):
        raise InputError(
            "similarities and same must have shape (B, B) and valid (B,), got "
            f"{tuple(similarities.shape)}, {tuple(same.shape)} and {tuple(valid.shape)}"
        )
    own = torch.eye(pairs, dtype=torch.bool, device=same.device)
    # A pair's own entry always stays, so that no row is empty; where the pair has no caption its weight is 0.
    left_out = (same | ~valid) & ~own
    scores = similarities.float().masked_fill(left_out, -torch.inf)
    backwards = similarities.float().T.masked_fill(left_out, -torch.inf)
    rows = torch.arange(pairs, device=same.device)
    share = valid.float()
    count = share.sum() if normaliser is None else normaliser
    losses = functional.cross_entropy(scores, rows, reduction="none")
    losses = losses + functional.cross_entropy(backwards, rows, reduction="none")
    correct = (scores.detach().argmax(-1) == rows).float()
    return divided((losses * share).sum(), count) / 2, divided((correct * share).sum(), count)


def same_captions(text_ids: Tensor, text_lengths: Tensor) -> Tensor:
    """Which samples say exactly the same: ``(B, B)`` bool, true on the diagonal.

    Args:
        text_ids: ``(B, T)`` int64, padded; what stands behind a caption's end is ignored.
        text_lengths: ``(B,)`` int64.
    """
    inside = torch.arange(text_ids.shape[1], device=text_ids.device) < text_lengths.unsqueeze(1)
    ids = torch.where(inside, text_ids, -1).T  # tokens first: all() over the last dimension would go number by number
    return (ids.unsqueeze(1) == ids.unsqueeze(2)).all(0)


def random_negatives(sample_ids: Tensor, *, seed: int, step: int | Tensor, excluded: Tensor | None = None) -> Negatives:
    """For each sample another one of the batch, uniformly.

    Args:
        sample_ids: ``(B,)`` int64 identities. Samples with the same identity are never each other's negatives.
        seed, step: key of the draw.
        excluded: ``(B, B)`` bool, further pairs that must not be drawn, such as :func:`same_captions`.
    """
    return _draw(torch.zeros((), device=sample_ids.device), sample_ids, seed, step, excluded)


def hard_negatives(
    similarity: Tensor,
    sample_ids: Tensor,
    *,
    seed: int,
    step: int | Tensor,
    temperature: float = 0.1,
    excluded: Tensor | None = None,
) -> Negatives:
    """For each sample another one of the batch, with probability ``softmax(similarity / temperature)``.

    Args:
        similarity: ``(B, B)``; row ``i`` scores how well the captions of the others would pass for that of ``i``.
            No gradient flows into it.
        sample_ids, seed, step, excluded: see :func:`random_negatives`.
        temperature: smaller is harder; 0 takes the most similar one, without a draw.
    """
    count = sample_ids.shape[0]
    if similarity.shape != (count, count):
        raise InputError(f"similarity must have shape ({count}, {count}), got {tuple(similarity.shape)}")
    if temperature < 0:
        raise InputError(f"temperature must not be negative, got {temperature}")
    scores = similarity.detach().float()
    if temperature == 0:
        return _pick(scores, _forbidden(sample_ids, excluded))
    return _draw(scores / temperature, sample_ids, seed, step, excluded)


def _forbidden(sample_ids: Tensor, excluded: Tensor | None) -> Tensor:
    forbidden = sample_ids.unsqueeze(0) == sample_ids.unsqueeze(1)
    return forbidden if excluded is None else forbidden | excluded


def _pick(scores: Tensor, forbidden: Tensor) -> Negatives:
    valid = ~forbidden.all(-1)
    best = torch.where(forbidden, -torch.inf, scores.nan_to_num(nan=-1e30)).argmax(-1)
    own = torch.arange(best.shape[0], device=best.device)
    return Negatives(torch.where(valid, best, own), valid)


def _draw(log_weights: Tensor, sample_ids: Tensor, seed: int, step: int | Tensor, excluded: Tensor | None) -> Negatives:
    """One draw a row from ``softmax(log_weights)`` by the Gumbel maximum: no sorting, no multinomial, no host."""
    ids = sample_ids.long()
    low, high = ids & _WORD, (ids >> 32) & _WORD
    if not isinstance(step, Tensor):  # full, not as_tensor: that makes compiled code anew for every step
        step = torch.full((), step, dtype=torch.int64, device=ids.device)
    steps = step.to(device=ids.device, dtype=torch.int64) & _WORD
    word, _, _, _ = philox4x32(
        (low.unsqueeze(1), high.unsqueeze(1), low.unsqueeze(0), high.unsqueeze(0)),
        (torch.full_like(steps, whole_number(seed, "seed") & _WORD), steps),
    )
    uniform = ((word >> 8).float() + 0.5) * 2.0**-24  # inside (0, 1), so that both logarithms are finite
    gumbel = -torch.log(-torch.log(uniform))
    return _pick(log_weights + gumbel, _forbidden(ids, excluded))
