"""``FiniteScalarQuantizer``: every number of a vector rounded to one of a few levels; the codebook is their grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops.vq.fixed_codes import FixedCodes

__all__ = ["FiniteScalarQuantizer"]

MOST_LEVELS = 512
EPSILON = 1e-3
"""How far the squashed range reaches beyond the outermost levels, as a share: so they are reached."""


class FiniteScalarQuantizer(FixedCodes):
    """Finite scalar quantisation (Mentzer et al., arXiv 2309.15505): no codebook, no losses, no dead codes.

    Number i of a group is squashed by a tanh into the range of its L_i levels and rounded to the nearest; the gradient
    goes straight through the rounding. Codes lie at multiples of 1 / ⌊L_i / 2⌋ from −1 to 1 (to one step below, where
    L_i is even). The index of a code is ``Σ_i digit_i Π_{j<i} L_j`` with digits from 0, the first number's the fastest,
    as in the paper's listing.

    ``forward(x (..., D), mask=None, *, update=None)`` returns a :class:`gptface.ops.QuantizerOutput` whose loss is 0.

    Args:
        levels: L of each number of a group, 2 to 512; (8, 5, 5, 5) are 1,000 codes, (8, 8, 8, 5, 5, 5) 64,000.
        groups: G; D is G times the number of levels given.

    Raises:
        InputError: impossible levels or groups; from ``forward`` the wrong shape or dtype.
    """

    levels: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int], *, groups: int = 1) -> None:
        given = list(levels) if isinstance(levels, Sequence) else []
        if not given or any(isinstance(one, bool) or not isinstance(one, int) for one in given):
            raise InputError(f"FiniteScalarQuantizer: levels={levels!r}; allowed: one integer or more")
        if min(given) < 2 or max(given) > MOST_LEVELS:
            raise InputError(f"FiniteScalarQuantizer: levels={given}; allowed: each from 2 to {MOST_LEVELS}")
        super().__init__(len(given), math.prod(given), groups)
        self.register_buffer("levels", torch.tensor(given), persistent=False)
        basis = [math.prod(given[:place]) for place in range(len(given))]
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def _squashed(self, rows: Tensor) -> Tensor:
        """``rows (N, G, d)`` in the range of the levels, whose rounding is −⌊L/2⌋ to ⌊(L−1)/2⌋."""
        half = (self.levels - 1).to(rows.dtype) * (1 + EPSILON) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0).to(rows.dtype)
        return torch.tanh(rows + torch.atanh(offset / half)) * half - offset

    def _rounded(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Before the tanh, so that what is not finite has the gradient 0 and not NaN.
        squashed, width = self._squashed(torch.where(rows.isfinite(), rows, 0.0)), self.levels // 2
        level = squashed.detach().round()
        digits = level.long() + width
        return (digits * self.basis).sum(-1), level / width, squashed / width

    def _codes(self, indices: Tensor) -> Tensor:
        digits = indices[..., None] // self.basis % self.levels
        width = self.levels // 2
        return (digits - width).float() / width

    def _loss(self, rows: Tensor, code: Tensor, usable: Tensor) -> Tensor:
        return rows.new_zeros(())

    def extra_repr(self) -> str:
        return f"levels={self.levels.tolist()}, groups={self.groups}"
