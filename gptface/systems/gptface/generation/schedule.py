"""How many tokens are still unknown after each step of iterative decoding.

Which of them come first is the order's business (``selection``), what they become that of ``guidance`` and ``sampler``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.errors import InputError

__all__ = ["StepPlan", "cosine_share", "plan_steps"]


def cosine_share(progress: float) -> float:
    """Share of the initially unknown tokens still unknown at ``progress``: 1 at 0, 0 at 1.

    ``cos(π/2 · progress)``: few tokens while the picture is open, many once it is settled (MaskGIT, arXiv 2202.04200).
    """
    return math.cos(0.5 * math.pi * progress) if progress < 1 else 0.0


@dataclass(frozen=True)
class StepPlan:
    """What :func:`plan_steps` decided, per sample.

    Attributes:
        remaining: ``(B, steps + 1)`` int64: tokens unknown before step t, for ``t = 0 … steps``; the last column is 0.
        progress: ``(B, steps)`` float32: 0 at a sample's first step, 1 at its last (1 throughout if it has one step).
        steps: steps until the last sample of the batch is done.
    """

    remaining: Tensor
    progress: Tensor
    steps: int


def plan_steps(unknown: Sequence[int], steps: int) -> StepPlan:
    """Apply the cosine schedule to every sample's own count of initially unknown tokens.

    Sample b with n unknown tokens takes ``min(steps, n)`` steps: each decodes at least one token and the last decodes
    all that are left. Before step t (counted from 0) ``⌊cosine_share(t / steps_b) · n⌋`` tokens are unknown, moved by
    as little as that rule asks. A sample's column does not depend on its neighbours in the batch.

    Args:
        unknown: number of initially unknown tokens of each sample, 0 allowed.
        steps: most steps a sample may take, at least 1.
    """
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    longest = max((min(steps, count) for count in unknown), default=0)
    remaining = torch.zeros(len(unknown), longest + 1, dtype=torch.int64)
    progress = torch.ones(len(unknown), longest, dtype=torch.float32)
    for row, count in enumerate(unknown):
        own = min(steps, count)
        left = count
        for step in range(own):
            remaining[row, step] = left
            progress[row, step] = step / (own - 1) if own > 1 else 1.0
            # The tolerance keeps a product of 31.999999… from losing a token to rounding.
            wanted = math.floor(cosine_share((step + 1) / own) * count + 1e-6)
            left = max(min(wanted, left - 1), own - step - 1)
    return StepPlan(remaining, progress, longest)
