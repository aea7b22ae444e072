"""``GroupedResidualVQ`` in the call convention of vector-quantize-pytorch."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.integrations.lucidrains.dropped_stages import DroppedStages
from gptface.integrations.lucidrains.residual import ResidualVQ

__all__ = ["GroupedResidualVQ"]


class GroupedResidualVQ(nn.Module):
    """A :class:`ResidualVQ` for each of ``groups`` parts of the vectors, as vector-quantize-pytorch calls them.

    ``forward(x)`` returns ``(quantized, indices, losses)``: ``quantized`` like ``x (B, N, dim)``, ``indices
    (G, B, N, Q)``, losses ``(G, Q)``.

    Args:
        dim, groups, accept_image_fmap: as in the original.
        seed: of the first group; the next ones count on from it.
        **kwargs: of :class:`ResidualVQ`.

    State dictionary: that of group g under ``rvqs.g.``.
    """

    def __init__(
        self, *, dim: int, groups: int = 1, accept_image_fmap: bool = False, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__()
        if groups < 1 or dim % groups:
            raise InputError(f"GroupedResidualVQ: groups={groups}; allowed: a divisor of dim={dim}")
        self.dim, self.groups, self.accept_image_fmap = dim, groups, accept_image_fmap
        self.rvqs = nn.ModuleList()
        for _ in range(groups):
            part = ResidualVQ(dim=dim // groups, accept_image_fmap=accept_image_fmap, seed=seed, **kwargs)
            seed += part.num_quantizers
            self.rvqs.append(part)
        self._dropped = DroppedStages(seed)

    @property
    def _parts(self) -> list[ResidualVQ]:
        return cast("list[ResidualVQ]", list(self.rvqs))

    @property
    def codebooks(self) -> Tensor:
        """``(G, Q, K, D)``."""
        return torch.stack([cast(Tensor, part.codebooks) for part in self.rvqs])

    @property
    def split_dim(self) -> int:
        """The dimension of ``x`` that is split."""
        return 1 if self.accept_image_fmap else -1

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """``(G, Q, ..., codebook_dim)`` of ``indices (G, ..., q)``."""
        return torch.stack([part.get_codes_from_indices(own) for part, own in zip(self._parts, indices, strict=True)])

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """What ``forward`` returns as quantized for these indices."""
        parts = [part.get_output_from_indices(own) for part, own in zip(self._parts, indices, strict=True)]
        return torch.cat(parts, self.split_dim)

    def forward(
        self,
        x: Tensor,
        indices: Any = None,
        return_all_codes: bool = False,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool = False,
        mask: Tensor | None = None,
    ) -> Any:
        """Quantize ``x``; arguments as of :meth:`ResidualVQ.forward`, ``indices (G, B, N, Q)``."""
        if x.shape[self.split_dim] != self.dim:
            raise InputError(
                f"GroupedResidualVQ: x has shape {tuple(x.shape)}; the length of its vectors must be {self.dim}"
            )
        given = () if indices is None else tuple(indices)
        if given and len(given) != self.groups:
            raise InputError(f"GroupedResidualVQ: indices has {len(given)} parts; it must have {self.groups}")
        drops = self.training and any(part.quantize_dropout for part in self.rvqs)
        seed = self._dropped.next_seed() if drops else None  # the same number of stages in every group
        results = [
            part(
                piece,
                mask=mask,
                indices=own,
                return_all_codes=return_all_codes,
                sample_codebook_temp=sample_codebook_temp,
                freeze_codebook=freeze_codebook,
                rand_quantize_dropout_fixed_seed=seed,
            )
            for part, piece, own in zip_longest(self.rvqs, x.chunk(self.groups, self.split_dim), given)
        ]
        parts, *others = zip(*results, strict=True)
        quantized = torch.cat(parts, self.split_dim)
        return (quantized, sum(others[0])) if given else (quantized, *(torch.stack(part) for part in others))
