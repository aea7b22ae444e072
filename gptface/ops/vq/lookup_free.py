"""``LookupFreeQuantizer``: the sign of every number of a vector; the index is the signs as bits."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops.vq.entropy import entropy_regularizer
from gptface.ops.vq.fixed_codes import FixedCodes
from gptface.ops.vq.quantizer import mean_square

__all__ = ["LookupFreeQuantizer"]

MOST_BITS = 24


class LookupFreeQuantizer(FixedCodes):
    """Lookup-free quantisation (Yu et al., "Language Model Beats Diffusion", arXiv 2310.05737): 2^d codes of ±1.

    Number i of a group becomes 1 where it is above 0 and −1 elsewhere; bit i of the index, the lowest first, is 1 where
    it is 1. The gradient goes straight through. The loss is ``commitment_weight · mean((x − code)²)`` and
    ``entropy_weight · (E[H(p)] − entropy_diversity · H(E[p]))``, p the softmax of the negative squared distances to all
    codes over the temperature: confident signs, and all codes in use.

    p is a product over the numbers, so the first entropy is exact at any size. That of the mean is exact up to
    ``entropy_bits`` numbers a group; more are entered in parts as even as can be, as if what one part says nothing of
    the others (an upper bound).

    ``forward(x (..., D), mask=None, *, update=None)`` returns a :class:`gptface.ops.QuantizerOutput`.

    Args:
        bits: d, numbers of a group, 1 to 24.
        groups: G; D is G · d.
        commitment_weight, entropy_weight, entropy_diversity: see above; 0 computes nothing.
        entropy_temperature: of the softmax, in units of the squared distance.
        entropy_bits: largest part whose 2^b codes are gone through, 1 to 16.

    Raises:
        InputError: impossible values; from ``forward`` the wrong shape or dtype.
    """

    def __init__(
        self,
        bits: int,
        *,
        groups: int = 1,
        commitment_weight: float = 0.25,
        entropy_weight: float = 0.1,
        entropy_diversity: float = 1.0,
        entropy_temperature: float = 1.0,
        entropy_bits: int = 10,
    ) -> None:
        for name, value, most in (("bits", bits, MOST_BITS), ("entropy_bits", entropy_bits, 16)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InputError(f"LookupFreeQuantizer: {name}={value!r}; allowed: 1 to {most}")
        super().__init__(bits, 1 << bits, groups)
        if not isinstance(entropy_temperature, int | float) or not entropy_temperature > 0.0:
            raise InputError(f"LookupFreeQuantizer: entropy_temperature={entropy_temperature!r}; allowed: above 0")
        self.bits = bits
        self.commitment_weight = commitment_weight
        self.entropy_weight = entropy_weight
        self.entropy_diversity = entropy_diversity
        self.entropy_temperature = entropy_temperature
        self.entropy_bits = entropy_bits

    def _rounded(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        positive = rows.detach() > 0
        place = torch.arange(self.bits, device=rows.device)
        return (positive.long() << place).sum(-1), torch.where(positive, 1.0, -1.0).to(rows.dtype), rows

    def _codes(self, indices: Tensor) -> Tensor:
        place = torch.arange(self.bits, device=indices.device)
        return ((indices[..., None] >> place) & 1).float() * 2 - 1

    def _loss(self, rows: Tensor, code: Tensor, usable: Tensor) -> Tensor:
        loss = rows.new_zeros(())
        kept = torch.where(usable.unsqueeze(-1), rows, 0.0)
        if self.commitment_weight:
            share = usable.numel() / usable.sum().clamp_min(1)
            error = torch.where(usable.unsqueeze(-1), kept - code, 0.0)
            loss = loss + self.commitment_weight * mean_square(error, None) * share
        if self.entropy_weight:
            parts = -(-self.bits // self.entropy_bits)
            entropies = [
                entropy_regularizer(
                    part.transpose(0, 1),
                    self._codes(torch.arange(1 << part.shape[-1], device=rows.device))[:, : part.shape[-1]]
                    .to(rows.dtype)
                    .expand(self.groups, -1, -1),
                    usable.transpose(0, 1),
                    self.entropy_temperature,
                    self.entropy_diversity,
                )
                for part in kept.tensor_split(parts, -1)
            ]
            loss = loss + self.entropy_weight * torch.stack(entropies).sum()
        return loss

    def extra_repr(self) -> str:
        return f"bits={self.bits}, groups={self.groups}, entropy_weight={self.entropy_weight}"
