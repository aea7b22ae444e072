"""Which stages of a residual quantizer are dropped in a training step."""

from __future__ import annotations

import random

import torch

__all__ = ["DroppedStages"]


class DroppedStages:
    """Decides after which stage the rest is dropped: by a count of its calls, so that all processes decide alike."""

    def __init__(self, seed: int) -> None:
        self.seed, self.calls = seed, 0

    @torch.compiler.disable
    def next_seed(self) -> int:
        """Another seed each time."""
        self.calls += 1
        return self.seed * 1_000_003 + self.calls

    @torch.compiler.disable
    def kept(self, cutoff: int, stages: int, multiple: int, seed: int | None) -> int:
        """How many stages are kept: more than ``cutoff``, rounded up to a multiple."""
        kept = random.Random(self.next_seed() if seed is None else seed).randrange(cutoff, stages) + 1
        return min(-(-kept // multiple) * multiple, stages)
