"""``VectorQuantizer``: the module people drop in between an encoder and a decoder."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.ops.vq.api import Precision, vq_lookup
from gptface.ops.vq.codebook import all_reduce_packed, cluster_sums, pick_rows, smoothed_sizes

__all__ = ["QuantizerOutput", "VectorQuantizer"]

_MOST_REVIVED = 1024  # codes a step: bounds what revival adds to the packed all-reduce


class QuantizerOutput(NamedTuple):
    """What a :class:`VectorQuantizer` returns; ``...`` are the leading dimensions of its input.

    Attributes:
        quantized: ``(..., D)`` in the dtype of the input: exactly the chosen codes, with the gradient of the estimator.
        indices: int64 ``(...)``, or ``(..., G)`` with ``groups > 1``.
        loss: scalar float32: all weighted parts together.
        perplexity: scalar float32: ``exp`` of the entropy of code usage in this batch (of all processes, in training);
            1 to K, the mean over groups.
        usage: scalar float32: share of the codes used in this batch, the mean over groups.
        candidates: int64 ``(..., topk)`` (``(..., G, topk)``), best first; ``None`` with ``topk = 1``.
        weights: softmax of the candidates' scores over the temperature, same shape as ``candidates``; differentiable.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor
    usage: Tensor
    candidates: Tensor | None
    weights: Tensor | None


class VectorQuantizer(nn.Module):
    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        metric: Literal["euclidean", "cosine"] = "euclidean",
        codebook_update: Literal["ema", "gradient"] = "ema",
        decay: float = 0.99,
        epsilon: float = 1e-5,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        revive_below: float = 0.0,
        topk: int = 1,
        temperature: float = 1.0,
        precision: Precision = "exact",
        seed: int = 0,
        impl: str = "auto",
    ) -> None:
        super().__init__()
        self.dim = dim
        self.codebook_size = codebook_size
        self.metric = metric
        self.codebook_update = codebook_update
        self.decay = decay
        self.epsilon = epsilon
        self.commitment_weight = commitment_weight
        self.codebook_weight = codebook_weight
        self.revive_below = revive_below
        self.topk = topk
        self.temperature = temperature
        self.precision = precision
        self.seed = seed
        self.impl = impl
        weight = torch.randn(1, codebook_size, dim)
        if codebook_update == "gradient":
            self.weight = nn.Parameter(weight[0])
        else:
            self.register_buffer("weight", weight[0])
        self.register_buffer("cluster_size", torch.ones(codebook_size))
        self.register_buffer("cluster_sum", weight[0].clone())
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def codebook(self) -> Tensor:
        """The codes as they are looked up, ``(K, D)``: of unit length with the cosine metric."""
        return functional.normalize(self.weight, dim=-1) if self.metric == "cosine" else self.weight

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes ``(..., D)`` of ``indices (...)``."""
        return functional.embedding(indices, self.codebook)

    def forward(self, x: Tensor) -> QuantizerOutput:
        if x.shape[-1] != self.dim:
            raise InputError(
                f"VectorQuantizer: x has shape {tuple(x.shape)}; its last dimension must be dim={self.dim}"
            )
        rows = x.float()
        if self.metric == "cosine":
            rows = functional.normalize(rows, dim=-1)
        codes = self.codebook
        found = vq_lookup(rows, codes, topk=1, precision=self.precision, impl=self.impl)
        chosen = functional.embedding(found.indices, codes)
        loss = self.commitment_weight * functional.mse_loss(rows, chosen.detach())
        if self.codebook_update == "gradient":
            loss = loss + self.codebook_weight * functional.mse_loss(chosen, rows.detach())
        if self.training:
            self._update(rows.detach().reshape(1, -1, self.dim), found.indices.reshape(1, -1))
        quantized = (chosen.detach() + (rows - rows.detach())).to(x.dtype)
        share = found.counts / found.counts.sum().clamp_min(1)
        perplexity = torch.special.entr(share).sum().exp()
        usage = (found.counts > 0).float().mean()
        return QuantizerOutput(quantized, found.indices, loss, perplexity, usage, None, None)

    @torch.no_grad()
    def _update(self, rows: Tensor, indices: Tensor) -> None:
        usable = rows.isfinite().all(-1)
        counts, sums = cluster_sums(rows, indices, usable, self.codebook_size)
        picks, valid = pick_rows(rows, usable, min(self.codebook_size, _MOST_REVIVED), self.seed, self.step)
        counts, sums, picks, valid = all_reduce_packed([counts, sums, picks, valid])
        self.step += 1
        self.cluster_size.lerp_(counts[0], 1 - self.decay)
        self.cluster_sum.lerp_(sums[0], 1 - self.decay)
        if self.codebook_update == "ema":
            self.weight.copy_(self.cluster_sum / smoothed_sizes(self.cluster_size, self.epsilon).unsqueeze(-1))
