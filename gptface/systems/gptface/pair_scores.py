"""Weak correlation: a pair whose caption and picture were found not to match loses its caption more often."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gptface.systems.gptface.configuration import PairWeightingSection

__all__ = ["PairScores"]

# Of the moving average of a pair's score: a score is mostly that of its last three visits.
DECAY = 0.7

# Smallest probability of keeping a caption, so that a pair that was misjudged is judged again.
FLOOR = 0.1


class PairScores(nn.Module):
    """How well the matching head finds each pair of the data set to match, over its visits.

    Args:
        count: pairs of the data set.
        section: from when on, and from which score on.
    """

    scores: Tensor
    seen: Tensor

    def __init__(self, count: int, section: PairWeightingSection) -> None:
        super().__init__()
        self.section = section
        self.register_buffer("scores", torch.zeros(count))
        self.register_buffer("seen", torch.zeros(count, dtype=torch.bool))

    def keep_probability(self, rows: Tensor, share: float) -> Tensor:
        """How likely each of the pairs ``rows`` (B,) is to keep its caption, at this ``share`` of the training."""
        if share < self.section.start:
            return torch.ones(len(rows), device=rows.device)
        informed = FLOOR + (1 - FLOOR) * torch.sigmoid(self.scores[rows] - self.section.threshold)
        return torch.where(self.seen[rows], informed, 1.0)

    @torch.no_grad()
    def remember(self, rows: Tensor, logits: Tensor, valid: Tensor) -> None:
        """Move the scores of the pairs just judged; all processes learn of all of them, so that their tables agree.

        Args:
            rows: ``(R,)`` places in the data set.
            logits: ``(R, 2)`` of the matching head; a score is the log-odds of a match.
            valid: ``(R,)`` bool, pairs that were judged with their caption.
        """
        odds = logits[:, 1] - logits[:, 0]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rows, odds, valid = (_gathered(value) for value in (rows, odds, valid.to(torch.uint8)))
            valid = valid.bool()
        old, seen = self.scores[rows], self.seen[rows]
        new = torch.where(seen, DECAY * old + (1 - DECAY) * odds, odds)
        self.scores[rows] = torch.where(valid, new, old)
        self.seen[rows] = seen | valid


def _gathered(value: Tensor) -> Tensor:
    parts = [torch.empty_like(value) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, value.contiguous())
    return torch.cat(parts)
