"""``VectorQuantizer``: the module people put between an encoder and a decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from gptface.ops.vq.api import vq_lookup
from gptface.ops.vq.codebook import cluster_counts
from gptface.ops.vq.entropy import entropy_regularizer
from gptface.ops.vq.gradient import rotation_trick, straight_through
from gptface.ops.vq.learned import LearnedCodebook, check_choice, check_range, gather_codes
from gptface.ops.vq.packed import Precision
from gptface.ops.vq.rows import code_usage

__all__ = ["QuantizerOutput", "VectorQuantizer", "mean_square"]


class QuantizerOutput(NamedTuple):
    """What a :class:`VectorQuantizer` returns; ``...`` are the leading dimensions of its input.

    Attributes:
        quantized: ``(..., D)`` in the dtype of the input: exactly the chosen codes, with the estimator's gradient.
        indices: int64 ``(...)``, or ``(..., G)`` with ``groups > 1``.
        loss: scalar, float32 (float64 for float64 inputs): all weighted parts together, in training and evaluation.
        perplexity: scalar: ``exp`` of the entropy of code usage in this batch, 1 to K; the mean over groups.
        usage: scalar: share of the codes used in this batch; the mean over groups. Where the module exchanges its
            statistics between processes, "this batch" is the joint batch of all of them.
        candidates: int64 ``(..., topk)`` or ``(..., G, topk)``, best first; ``None`` with ``topk = 1``.
        weights: softmax of the candidates' scores over the temperature, in the shape of ``candidates``;
            differentiable. ``None`` with ``topk = 1``.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor
    usage: Tensor
    candidates: Tensor | None
    weights: Tensor | None


class VectorQuantizer(LearnedCodebook):
    """Replaces every vector by the nearest code of a learned codebook (van den Oord et al., arXiv 1711.00937).

    ``forward(x (..., D), mask=None, *, update=None)`` returns a :class:`QuantizerOutput`. Nothing in it asks the host,
    whether in training, k-means initialisation or revival; it lives in ``torch.compile(fullgraph=True)``. Activation
    checkpointing around it would run a step twice and so update the codebook twice: leave it outside.

    Under ``torch.distributed`` the statistics of all processes are summed in one all-reduce a training step, so that
    codebooks stay identical and equal to those of a single process on the joined batch. The process group is looked up
    in each call; it may start after the module was built. A codebook learned by gradient leaves the gradient to
    ``DistributedDataParallel``. The entropy regulariser is per process.

    Everything is computed in float32 (float64 for float64 inputs), also under autocast. Codebook and averages stay
    float32 under ``.half()``, ``.bfloat16()`` and a lower default dtype, where a moving average would stand still.

    Calls that do not update the codebook keep it packed for the lookup on a processor (two and a half copies more;
    three and a half with the cosine metric) and compare it with a snapshot each time, bit for bit: any change is
    seen, however it was written. ``train()`` lets go of it.

    Args:
        dim: D, the length of the vectors.
        codebook_size: K, the number of codes (of each group).
        groups: split each vector into G parts of length D / G, each with its own codebook.
        metric: ``"euclidean"``, or ``"cosine"``: vectors and codes are scaled to unit length; the output is unit codes.
        codebook_update: ``"ema"``: codes are moving averages of the vectors that choose them; ``"gradient"``: the
            codebook is a parameter, drawn by ``codebook_weight · mean((code − sg[x])²)``.
        estimator: gradient through the choice: ``"straight_through"`` or ``"rotation"`` (arXiv 2410.06424).
        commitment_weight: of ``mean((x − sg[code])²)`` in the loss.
        codebook_weight: of the codebook's own loss, with ``codebook_update="gradient"``.
        decay: of the moving averages, a step; with 1 they stay, and the codes with them.
        epsilon: Laplace smoothing of the cluster sizes.
        kmeans_init: take the codebook from k-means on the first training batch. Otherwise it starts normal with the
            standard deviation 1 (``"ema"``), or uniform in ±1/K (``"gradient"``).
        kmeans_iterations: of that.
        revive_below: a code whose moving cluster size is under this share of the mean cluster size is dead; it is moved
            onto a row of the batch and counts as average again. A code nobody ever uses dies after
            ``ln(revive_below) / ln(decay)`` steps: 459 with the defaults; for runs of a few hundred steps take
            ``decay=0.95, revive_below=0.1`` (45 steps). 0 never revives.
        topk: also return this many candidates with their weights.
        temperature: of the candidates' weights, in units of the score.
        entropy_weight: of ``E[H(p)] − entropy_diversity · H(E[p])``, p the softmax of the scores; 0 computes nothing.
        entropy_diversity: see there.
        entropy_temperature: of that softmax, in units of the squared distance.
        precision: of the lookup, see :func:`gptface.ops.vq_lookup`.
        seed: of k-means' first rows and of revival, with a step counter in the state dictionary.
        synchronize: exchange statistics between processes.
        impl: of the lookup.

    State dictionary: ``weight (K, D)`` or ``(G, K, D / G)``; as needed ``cluster_size (K,)`` or ``(G, K)``,
    ``cluster_sum`` (like ``weight``), ``initialized ()`` bool and ``step ()`` int64.

    Raises:
        InputError: from the constructor for impossible values, from ``forward`` for the wrong shape or dtype.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        groups: int = 1,
        metric: Literal["euclidean", "cosine"] = "euclidean",
        codebook_update: Literal["ema", "gradient"] = "ema",
        estimator: Literal["straight_through", "rotation"] = "straight_through",
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        kmeans_init: bool = True,
        kmeans_iterations: int = 10,
        revive_below: float = 0.01,
        topk: int = 1,
        temperature: float = 1.0,
        entropy_weight: float = 0.0,
        entropy_diversity: float = 1.0,
        entropy_temperature: float = 1.0,
        precision: Precision = "exact",
        seed: int = 0,
        synchronize: bool = True,
        impl: str = "auto",
    ) -> None:
        super().__init__(
            dim,
            codebook_size,
            groups=groups,
            metric=metric,
            codebook_update=codebook_update,
            decay=decay,
            epsilon=epsilon,
            kmeans_init=kmeans_init,
            kmeans_iterations=kmeans_iterations,
            revive_below=revive_below,
            precision=precision,
            seed=seed,
            synchronize=synchronize,
            impl=impl,
        )
        check_choice("estimator", estimator, ("straight_through", "rotation"))
        check_range("topk", topk, 1 <= topk <= codebook_size, f"1 to codebook_size={codebook_size}")
        check_range("temperature", temperature, temperature > 0.0, "above 0")
        check_range("entropy_temperature", entropy_temperature, entropy_temperature > 0.0, "above 0")
        self.estimator = estimator
        self.commitment_weight = commitment_weight
        self.codebook_weight = codebook_weight
        self.topk = topk
        self.temperature = temperature
        self.entropy_weight = entropy_weight
        self.entropy_diversity = entropy_diversity
        self.entropy_temperature = entropy_temperature

    if TYPE_CHECKING:  # `nn.Module` says Any of its call

        def __call__(self, x: Tensor, mask: Tensor | None = None, *, update: bool | None = None) -> QuantizerOutput: ...

    def forward(self, x: Tensor, mask: Tensor | None = None, *, update: bool | None = None) -> QuantizerOutput:
        """Quantize ``x (..., D)`` and learn from it.

        Args:
            x: floating point, any strides.
            mask: bool ``(...)``; vectors where it is ``False`` are quantized too, but are in no loss and no statistic
                (padding).
            update: whether this batch changes the codebook and its statistics; by default in training mode only.
        """
        update = self.training if update is None else update
        leading = x.shape[:-1]
        rows, usable = self._prepared(x, mask, update)
        several = self.topk > 1
        weight, codebook = self._codes(rows, update, scored=several, kept=several or self.entropy_weight != 0.0)
        found = vq_lookup(
            rows,
            codebook,
            topk=self.topk,
            precision=self.precision,
            return_scores=several,
            impl=self.impl,
        )
        indices = found.indices[..., 0] if several else found.indices
        chosen = gather_codes(weight, indices).to(rows.dtype)

        loss = self._loss(rows, chosen, weight, usable, mask)
        quantized = (rotation_trick if self.estimator == "rotation" else straight_through)(rows, chosen)
        counts = self._update(rows, indices, usable, update)
        perplexity, usage = code_usage(counts)

        def shaped(values: Tensor) -> Tensor:
            values = values if self.groups > 1 else values.squeeze(1)
            return values.reshape((*leading, *values.shape[1:]))

        return QuantizerOutput(
            quantized=quantized.to(x.dtype).reshape(x.shape),
            indices=shaped(indices),
            loss=loss,
            perplexity=perplexity,
            usage=usage,
            candidates=shaped(found.indices) if several else None,
            weights=shaped((found.scores / self.temperature).softmax(-1)) if found.scores is not None else None,
        )

    def _loss(self, rows: Tensor, chosen: Tensor, weight: Tensor, usable: Tensor, mask: Tensor | None) -> Tensor:
        loss = self.commitment_weight * mean_square(rows - chosen.detach(), mask)
        if self.codebook_update == "gradient":
            loss = loss + self.codebook_weight * mean_square(chosen - rows.detach(), mask)
        if self.entropy_weight != 0.0:
            entropy = entropy_regularizer(
                rows.transpose(0, 1),
                weight.to(rows.dtype),
                usable.transpose(0, 1),
                self.entropy_temperature,
                self.entropy_diversity,
            )
            loss = loss + self.entropy_weight * entropy
        return loss

    @torch.no_grad()
    def _update(self, rows: Tensor, indices: Tensor, usable: Tensor, update: bool) -> Tensor:
        """Learn from a batch if that is wanted; returns how many rows chose each code: floating point ``(G, K)``."""
        if not (update and self._keeps_sizes):
            return cluster_counts(indices.mT, usable.mT, self.codebook_size).to(rows.dtype)
        averages, revives = self.codebook_update == "ema", self.revive_below > 0.0
        counts, sums, picks = self._statistics(rows, indices, usable, sums=averages, revives=revives)
        self._average(counts, sums, 1.0 - self.decay)
        if averages:
            self._follow_averages()
        if picks is not None:
            self._revive(*picks)
        return counts

    def extra_repr(self) -> str:
        return (
            f"dim={self.dim}, codebook_size={self.codebook_size}, groups={self.groups}, metric={self.metric!r}, "
            f"codebook_update={self.codebook_update!r}, estimator={self.estimator!r}"
        )


def mean_square(error: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the squares of ``error (N, G, d)`` over the vectors in ``mask (...)``; 0 without any."""
    if mask is None:
        return error.square().sum() / max(error.numel(), 1)
    kept = mask.reshape(-1, 1, 1)
    elements = kept.sum() * (error.shape[1] * error.shape[2])
    return torch.where(kept, error, 0.0).square().sum() / elements.clamp_min(1)
