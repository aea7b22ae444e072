"""Incubation: the supervision of a belief predictor by the code that is nearest to a patch's own pixels (PaCo-FR)."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.objectives.normalisation import divided
from gptface.ops import vq_lookup

__all__ = ["incubation_loss"]


def incubation_loss(
    queries: Tensor,
    targets: Tensor,
    codebook: Tensor,
    temperature: float,
    normaliser: Tensor | None = None,
    usable: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of beliefs over all codes to the code nearest to each patch: scalar float32.

    A belief is the softmax over the codes of ``−‖query − code‖² / temperature``. The codes are taken as they are: the
    predictor learns to name them, and they do not come to meet it.

    Args:
        queries: ``(R, D)``, what the predictor says of R patches.
        targets: ``(R, D)``, where the patches' pixels lie in the space of the codes.
        codebook: ``(K, D)``.
        temperature: above 0.
        normaliser: number of patches that the sum is divided by in place of R.
        usable: bool ``(R,)``, which of them are patches; others are padding and do not count. By default all.
    """
    codes = codebook.detach().float()
    nearest = vq_lookup(targets.detach().float(), codes).indices
    # ‖query‖² is the same for every code.
    with torch.autocast(codes.device.type, enabled=False):  # a temperature makes much of small differences
        logits = torch.addmm(-codes.square().sum(1), queries.float(), codes.T, alpha=2.0) / temperature
    losses = torch.nn.functional.cross_entropy(logits, nearest, reduction="none")
    if usable is not None:
        losses = torch.where(usable, losses, 0.0)
        normaliser = usable.sum() if normaliser is None else normaliser
    return losses.mean() if normaliser is None else divided(losses.sum(), normaliser)
