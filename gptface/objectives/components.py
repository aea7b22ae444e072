"""Agreement of a face's components over two views of it: eyes with its eyes, mouth with its mouth, not another's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.objectives.normalisation import divided

__all__ = ["component_count", "component_loss", "component_means"]


def component_means(
    features: Tensor, labels: Tensor, pictures: Tensor, batch: int, count: int
) -> tuple[Tensor, Tensor]:
    """Mean feature of every component of every picture, over the patches that are seen of it.

    Args:
        features: ``(V, C)``, of visible patches.
        labels: int64 ``(V,)``, the component of each, 0 to ``count`` − 1, or −1 for none.
        pictures: int64 ``(V,)``, the picture each belongs to; ignored where the label is −1.
        batch: B, number of pictures.
        count: G, number of components.

    Returns:
        ``means (B, G, C)`` float32, zeros where nothing is seen, and ``seen`` bool ``(B, G)``.
    """
    inside = labels >= 0
    places = torch.where(inside, pictures * count + labels, batch * count)
    sums = features.new_zeros(batch * count + 1, features.shape[1], dtype=torch.float32)
    sums = sums.index_add(0, places, features.float())[:-1]
    sizes = torch.bincount(places, minlength=batch * count + 1)[:-1].unsqueeze(1)
    return (sums / sizes.clamp_min(1)).view(batch, count, -1), (sizes > 0).view(batch, count)


def component_count(seen: Tensor) -> Tensor:
    """Number of components seen in both views: scalar float32. ``seen`` as in :func:`component_loss`."""
    return seen.unflatten(0, (2, -1)).all(0).sum().float()


def component_loss(
    summaries: Tensor, seen: Tensor, temperature: float, normaliser: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding a face among the batch's by one component alone, from one view to the other and back.

    InfoNCE (van den Oord et al., 1807.03748; NT-Xent without the negatives of the same view, Chen et al., 2002.05709),
    for every component by itself. Negatives are the faces of this process.

    Args:
        summaries: ``(2 · F, G, D)``: G components of F faces in a first view, then of the same faces in a second.
        seen: bool ``(2 · F, G)``.
        temperature: of the cosines, above 0.
        normaliser: number that the sum is divided by in place of :func:`component_count`.

    Returns:
        ``(loss, accuracy)``, float32 scalars: the mean over components seen in both views, and how often the right face
        comes first.
    """
    first, second = functional.normalize(summaries.float(), dim=-1).transpose(0, 1).unflatten(1, (2, -1)).unbind(1)
    one, other = seen.T.unflatten(1, (2, -1)).unbind(1)
    cosines = first @ second.mT / temperature
    both = (one & other).float()
    losses, hits = torch.zeros_like(both), torch.zeros_like(both)
    for logits, candidates in ((cosines, other), (cosines.mT, one)):
        # Where a component is not seen the own face stays in, so that every row has a finite logit; `both` drops it.
        own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(~(candidates.unsqueeze(1) | own), float("-inf"))
        losses = losses + 0.5 * (logits.logsumexp(-1) - logits.diagonal(dim1=1, dim2=2))
        hits = hits + 0.5 * (logits.argmax(-1) == torch.arange(logits.shape[-1], device=logits.device)).float()
    count = both.sum() if normaliser is None else normaliser
    return divided((losses * both).sum(), count), divided((hits * both).sum(), count)
