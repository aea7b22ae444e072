"""The codebook under vector-quantize-pytorch's quantizers: chosen from, learning and reviving as theirs does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gptface.errors import InputError
from gptface.integrations.lucidrains.losses import similarities
from gptface.ops import vq_lookup
from gptface.ops.vq.chunked import block_rows
from gptface.ops.vq.codebook import all_reduce_packed
from gptface.ops.vq.learned import LearnedCodebook, gather_codes

__all__ = ["Choice", "Codebook", "StateByTheirNames", "UpdateWeight"]

UpdateWeight = Tensor | Callable[[Tensor, Tensor], Tensor]


class Choice(NamedTuple):
    """Codes chosen for rows.

    Attributes:
        rows: ``(N, G, d)``: at least float32, of unit length with the cosine metric.
        usable: bool ``(N, G)``: which of them count.
        weight: the codebook ``(G, K, d)``.
        indices: int64 ``(N, G)``, or ``(N, G, topk)``.
        codes: ``(N, G, d)``, or ``(N, G, topk, d)``; with a gradient where the codebook has one.
    """

    rows: Tensor
    usable: Tensor
    weight: Tensor
    indices: Tensor
    codes: Tensor


class Codebook(LearnedCodebook):
    """Counts a code as dead below an absolute moving cluster size, and takes its updates weighed, gathered or later.

    Args:
        threshold: that size; 0 never revives. A revived code starts with it.
        manual: never move the codes with their averages but on :meth:`follow_averages`.
        **options: of :class:`gptface.ops.vq.learned.LearnedCodebook`.
    """

    gathered_size: Tensor | None
    gathered_sum: Tensor | None

    def __init__(self, *arguments: Any, threshold: float, manual: bool, **options: Any) -> None:
        super().__init__(*arguments, revive_below=0.5 if threshold > 0 else 0.0, **options)
        self.threshold = threshold
        self.manual = manual
        # What batches brought that were to wait for the next update; the original's are in no state dictionary either.
        self.register_buffer("gathered_size", None, persistent=False)
        self.register_buffer("gathered_sum", None, persistent=False)

    def _dead_codes(self) -> tuple[Tensor, Tensor]:
        return self.cluster_size < self.threshold, torch.full_like(self.cluster_size, self.threshold)

    def choose(
        self,
        x: Tensor,
        mask: Tensor | None,
        *,
        changes: bool,
        topk: int | None = None,
        temperature: float = 0.0,
        transform: Callable[[Tensor], Tensor] | None = None,
        kept: bool = False,
    ) -> Choice:
        """The nearest codes of ``x (..., G · d)``.

        Args:
            mask: bool ``(...)``: which rows k-means takes.
            changes: whether the codebook will change in this call.
            topk: as many of the nearest codes.
            temperature: above 0, draw from the softmax of the similarities over it instead.
            transform: makes of the codebook ``(G, K, d)`` one for every row: ``(G, ..., K, d)``.
            kept: autograd will need the codebook itself.
        """
        rows, usable = self._prepared(x, mask, self.training)
        weight, looked_up = self._codes(rows, changes, kept=kept)
        number = 1 if topk is None else topk
        if transform is not None:
            indices, codes = self._choose_of_own(rows, transform(weight.to(rows.dtype)), number)
        else:
            if temperature > 0.0:
                indices = self._draw(rows, weight.to(rows.dtype), number, temperature)
            else:
                indices = vq_lookup(rows, looked_up, topk=number, precision=self.precision, impl=self.impl).indices
                indices = indices.unsqueeze(-1) if number == 1 else indices
            codes = gather_codes(weight, indices.transpose(1, 2)).transpose(1, 2).to(rows.dtype)
        if topk is None:
            indices, codes = indices.squeeze(-1), codes.squeeze(-2)
        return Choice(rows, usable, weight, indices, codes)

    @torch.no_grad()
    def _draw(self, rows: Tensor, codes: Tensor, number: int, temperature: float) -> Tensor:
        found = []
        for block in rows.transpose(0, 1).split(block_rows(rows.device, self.groups, self.codebook_size), 1):
            logits = similarities(block, codes, self.metric == "cosine") / temperature
            noise = torch.rand_like(logits).clamp_min(1e-20).log().neg().clamp_min(1e-20).log().neg()
            found.append((logits + noise).topk(number).indices)
        return torch.cat(found, 1).transpose(0, 1)

    def _choose_of_own(self, rows: Tensor, own: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Indices and codes where every row has a codebook of its own, ``own (G, ..., K, d)``."""
        own = own.reshape(self.groups, rows.shape[0], *own.shape[-2:]).transpose(0, 1)
        if self.metric == "cosine":
            own = functional.normalize(own, dim=-1)
            scores = (own.detach() @ rows.detach().unsqueeze(-1)).squeeze(-1)
        else:
            scores = -(own.detach() - rows.detach().unsqueeze(-2)).square().sum(-1)
        indices = scores.topk(number).indices
        return indices, own.gather(-2, indices.unsqueeze(-1).expand(*indices.shape, own.shape[-1]))

    @torch.no_grad()
    def learn(
        self,
        rows: Tensor,
        indices: Tensor,
        usable: Tensor,
        *,
        follow: bool,
        weight: UpdateWeight | None = None,
        gather: bool = False,
    ) -> None:
        """Learn from ``rows (N, G, d)`` that chose ``indices (N, G)``.

        Args:
            usable: bool ``(N, G)``; other rows teach nothing.
            follow: move the codes with their averages.
            weight: of each code's update, ``(K,)`` or ``(G, K)``, or what makes it of sums ``(G, K, d)`` and counts
                ``(G, K)``.
            gather: keep the statistics for the next update, and change nothing yet.
        """
        if not (follow or self.threshold > 0):
            return
        averages, revives = self.codebook_update == "ema", self.threshold > 0 and self.training and not gather
        counts, sums, picks = self._statistics(
            rows, indices, usable, sums=averages or callable(weight), revives=revives
        )
        if weight is not None and not isinstance(weight, Tensor):
            assert sums is not None
            weight = weight(sums, counts)
        if weight is not None:
            weight = self._checked_weight(weight, counts)
        if self.gathered_size is not None:
            counts, self.gathered_size = counts + self.gathered_size, None
        if self.gathered_sum is not None and sums is not None:
            sums, self.gathered_sum = sums + self.gathered_sum, None
        if gather:
            self.gathered_size, self.gathered_sum = counts, sums
            return
        rate = 1.0 - self.decay
        self._average(counts, sums if averages else None, rate if weight is None else rate * weight)
        if follow and averages and not self.manual:
            self._follow_averages()
        if picks is not None:
            self._revive(*picks)

    @staticmethod
    def _checked_weight(weight: Tensor, counts: Tensor) -> Tensor:
        if weight.shape not in (counts.shape, counts.shape[1:]):
            raise InputError(
                f"VectorQuantize: ema_update_weight has shape {tuple(weight.shape)}; "
                f"allowed: {tuple(counts.shape[1:])} or {tuple(counts.shape)}"
            )
        return weight.to(counts).expand_as(counts)

    @torch.no_grad()
    def follow_averages(self) -> None:
        """Put every code where the averages say that it is."""
        self._follow_averages()

    @torch.no_grad()
    def revive(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Move dead codes onto vectors of ``x (..., G · d)`` in ``mask (...)``; in training mode, with a threshold."""
        if self.threshold > 0 and self.training:
            rows, usable = self._prepared(x, mask, False)
            picks, found = all_reduce_packed(list(self._own_picks(rows.transpose(0, 1), usable.mT)), self.synchronize)
            self._revive(picks, found > 0)


class StateByTheirNames:
    """A codebook's state as the original names and shapes it; tensors are views, so that writing to them counts."""

    def __init__(self, codebook: Codebook) -> None:
        self._codebook = codebook

    def _by_head(self, value: Tensor) -> Tensor:
        return value.unsqueeze(0) if self._codebook.groups == 1 else value

    @property
    def embed(self) -> Tensor:
        """Codes ``(H, K, D)``."""
        return self._by_head(self._codebook.weight)

    @property
    def embed_avg(self) -> Tensor:
        """Moving sums of the vectors that chose each code ``(H, K, D)``; a copy of the codes where none are kept."""
        kept = self._codebook.codebook_update == "ema"
        return self._by_head(self._codebook.cluster_sum) if kept else self.embed.detach().clone()

    @property
    def cluster_size(self) -> Tensor:
        """Moving numbers of those vectors ``(H, K)``; ones where none are kept."""
        kept = getattr(self._codebook, "cluster_size", None)
        return torch.ones_like(self.embed[..., 0].detach()) if kept is None else self._by_head(kept)

    @property
    def initted(self) -> Tensor:
        """Whether k-means has run, or need not: bool ``()``."""
        kept = getattr(self._codebook, "initialized", None)
        return torch.ones((), dtype=torch.bool, device=self.embed.device) if kept is None else kept

    def update_ema(self) -> None:
        """Put every code where the averages say that it is."""
        self._codebook.follow_averages()

    def expire_codes_(self, batch_samples: Tensor) -> None:
        """Move dead codes onto vectors of ``batch_samples (..., D)``, in training mode."""
        self._codebook.revive(batch_samples)
