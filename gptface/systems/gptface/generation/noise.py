"""Random numbers that belong to a sample: they depend on its seed and the step, never on the batch around it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gptface.integers import whole_number

__all__ = ["SampleNoise", "derive_seed", "gumbel", "sample_categorical"]

_MASK = (1 << 64) - 1


def derive_seed(seed: int, *parts: int) -> int:
    """A 64-bit seed from a seed and indices (SplitMix64), so that neighbours such as 0, 1, 2 share nothing."""
    state = whole_number(seed, "seed") & _MASK
    for part in (*parts, 0x6A09E667):
        state = (state + 0x9E3779B97F4A7C15 * ((part & _MASK) + 1)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


class SampleNoise:
    """Uniform numbers in [0, 1) for every sample of a batch, drawn on the host from the sample's own generator.

    Args:
        seeds: one integer a sample.
        device: where the numbers go.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.seeds = [whole_number(seed, "seeds") for seed in seeds]
        self.device = torch.device(device)
        self._generator = torch.Generator()

    def uniform(self, step: int, stream: int, shape: tuple[int, ...]) -> Tensor:
        """``(B, *shape)`` float32. The same (seed, step, stream, shape) always gives the same numbers."""
        rows = torch.empty(len(self.seeds), *shape)
        for row, seed in zip(rows, self.seeds, strict=True):
            self._generator.manual_seed(derive_seed(seed, step, stream))
            row.uniform_(generator=self._generator)
        return rows.to(self.device, non_blocking=True)


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform numbers in [0, 1)."""
    tiny = torch.finfo(uniform.dtype).tiny
    exponential = -torch.log(uniform.clamp_min(tiny))
    return -torch.log(exponential.clamp_min(tiny))


def sample_categorical(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw by inversion: one uniform number a draw instead of one a category.

    Args:
        probabilities: ``(…, V)``, non-negative, need not sum to exactly 1.
        uniform: ``(…, n)`` in [0, 1): n independent draws of each distribution.

    Returns:
        ``(…, n)`` int64; never a category of probability 0.
    """
    cumulative = probabilities.cumsum(-1)
    total = cumulative[..., -1:]
    # u · total may round up to total, and then no category would lie above it.
    below = torch.nextafter(total, torch.zeros_like(total))
    threshold = torch.minimum(uniform.to(total.dtype) * total, below)
    return torch.searchsorted(cumulative.contiguous(), threshold.contiguous(), right=True)
