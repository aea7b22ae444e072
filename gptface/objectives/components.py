"""Agreement of a face's components over two views of it: eyes with its eyes, mouth with its mouth, not another's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.objectives.normalisation import divided

__all__ = ["component_count", "component_loss", "component_means", "components_seen"]


def _members(labels: Tensor, count: int) -> Tensor:
    """bool (B, G, N): which patches lie in each component."""
    return labels.unsqueeze(1) == torch.arange(count, device=labels.device).view(-1, 1)


def components_seen(labels: Tensor, count: int) -> Tensor:
    """Which components have a patch: bool ``(B, G)``. Arguments as in :func:`component_means`."""
    return _members(labels, count).any(2)


def component_means(features: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean feature of every component of every picture: float32 ``(B, G, C)``, zeros where it has no patch.

    Args:
        features: ``(B, N, C)``, of all patches of the grid; finite, also where the label is −1.
        labels: int64 ``(B, N)``, the component of each, 0 to ``count`` − 1, or −1 for patches that are not to count.
        count: G, number of components.
    """
    members = _members(labels, count).float()
    # A product of matrices: on a GPU, unlike a scatter, it adds in the same order every time.
    with torch.autocast(features.device.type, enabled=False):
        return members @ features.float() / members.sum(2, keepdim=True).clamp_min(1)


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
