"""Statistics of tokens that training and evaluation both report."""

from __future__ import annotations

from torch import Tensor, bincount

__all__ = ["unigram_entropy"]


def unigram_entropy(tokens: Tensor, size: int) -> float:
    """Entropy in nats of the empirical distribution of ``tokens`` (any shape, values in ``[0, size)``).

    It is the cross-entropy of the best model that ignores all context: what a masked model has to beat.
    """
    counts = bincount(tokens.flatten().long().cpu(), minlength=size).double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log()).sum())
