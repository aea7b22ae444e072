"""Quantisers whose codes are given by arithmetic: what finite scalar and lookup-free quantisation have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.ops.vq.codebook import cluster_counts
from gptface.ops.vq.gradient import straight_through
from gptface.ops.vq.quantizer import QuantizerOutput
from gptface.ops.vq.rows import code_usage, vector_rows

__all__ = ["FixedCodes"]

LARGEST_CODEBOOK = 1 << 24
"""Codes that can be counted: usage and perplexity keep a number for each."""


class FixedCodes(nn.Module, ABC):
    """Vectors of G groups, each rounded to one of K codes that nobody learns.

    Called like :class:`gptface.ops.VectorQuantizer`, with the same result, so that one can stand in for the other.
    There is no state: ``update`` changes nothing, and perplexity and usage are those of this process's batch.

    Args:
        length: d, numbers of a group.
        codebook_size: K.
        groups: G.

    Raises:
        InputError: from the constructor for impossible values, from ``forward`` for the wrong shape or dtype.
    """

    def __init__(self, length: int, codebook_size: int, groups: int) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise InputError(f"{name}: groups={groups!r}; allowed: 1 or more")
        if codebook_size > LARGEST_CODEBOOK:
            raise InputError(f"{name}: {codebook_size} codes a group; allowed: at most {LARGEST_CODEBOOK}; take groups")
        self.dim = length * groups
        self.codebook_size = codebook_size
        self.groups = groups

    if TYPE_CHECKING:  # `nn.Module` says Any of its call

        def __call__(self, x: Tensor, mask: Tensor | None = None, *, update: bool | None = None) -> QuantizerOutput: ...

    def forward(self, x: Tensor, mask: Tensor | None = None, *, update: bool | None = None) -> QuantizerOutput:
        """Quantize ``x (..., D)``.

        Args:
            x: floating point, any strides.
            mask: bool ``(...)``; vectors where it is ``False`` are quantized too, but are in no loss and no statistic.
            update: as other quantisers have it; there is nothing to update.
        """
        rows, usable = vector_rows(type(self).__name__, x, mask, self.dim, self.groups)
        indices, code, smooth = self._rounded(rows)
        counts = cluster_counts(indices.mT, usable.mT, self.codebook_size).to(rows.dtype)
        perplexity, usage = code_usage(counts)
        leading = x.shape[:-1]
        return QuantizerOutput(
            quantized=straight_through(smooth, code).to(x.dtype).reshape(x.shape),
            indices=indices.reshape(leading) if self.groups == 1 else indices.reshape(*leading, self.groups),
            loss=self._loss(rows, code, usable),
            perplexity=perplexity,
            usage=usage,
            candidates=None,
            weights=None,
        )

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes ``(..., D)`` of ``indices (...)``, or of ``(..., G)`` with several groups: float32.

        Raises:
            InputError: indices without the groups in their last dimension, that are no integers, or, on the CPU, out of
            range.
        """
        name = type(self).__name__
        if indices.is_floating_point() or indices.dtype == torch.bool:
            raise InputError(f"{name}.lookup: indices is {indices.dtype}; it must be integer")
        if self.groups > 1 and indices.shape[-1:] != (self.groups,):
            raise InputError(
                f"{name}.lookup: indices has shape {tuple(indices.shape)}; the last dimension must be "
                f"groups={self.groups}"
            )
        if not torch.compiler.is_compiling() and indices.device.type == "cpu" and indices.numel():
            low, high = int(indices.min()), int(indices.max())
            if low < 0 or high >= self.codebook_size:
                raise InputError(
                    f"{name}.lookup: indices from {low} to {high}; allowed: 0 to {self.codebook_size - 1}"
                )
        codes = self._codes(indices.long())
        return codes if self.groups == 1 else codes.flatten(-2)

    @abstractmethod
    def _rounded(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of ``rows (N, G, d)``: indices int64 ``(N, G)``, the codes, and what they were rounded from, ``(N, G, d)``;
        vectors that are not finite get any code."""

    @abstractmethod
    def _codes(self, indices: Tensor) -> Tensor:
        """The codes float32 ``(..., d)`` of ``indices (...)``."""

    @abstractmethod
    def _loss(self, rows: Tensor, code: Tensor, usable: Tensor) -> Tensor:
        """Scalar in the dtype of ``rows (N, G, d)``; ``usable``: bool ``(N, G)``."""
