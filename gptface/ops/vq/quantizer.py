"""``VectorQuantizer``: the module people put between an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.ops.vq.api import vq_lookup
from gptface.ops.vq.codebook import all_reduce_packed, cluster_counts, cluster_sums, pick_rows, smoothed_sizes
from gptface.ops.vq.entropy import entropy_regularizer
from gptface.ops.vq.gradient import rotation_trick, straight_through
from gptface.ops.vq.kmeans import kmeans
from gptface.ops.vq.packed import LastCodebook, PackedCodebook, Precision

__all__ = ["QuantizerOutput", "VectorQuantizer"]

_MOST_REVIVED = 1024  # codes a step: bounds what revival adds to the packed all-reduce


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


class VectorQuantizer(nn.Module):
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
        decay: of the moving averages, a step.
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

    weight: Tensor
    cluster_size: Tensor
    cluster_sum: Tensor
    initialized: Tensor
    step: Tensor

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
        super().__init__()
        _check_choice("metric", metric, ("euclidean", "cosine"))
        _check_choice("codebook_update", codebook_update, ("ema", "gradient"))
        _check_choice("estimator", estimator, ("straight_through", "rotation"))
        _check_range("codebook_size", codebook_size, codebook_size >= 1, "1 or more")
        _check_range("groups", groups, groups >= 1 and dim >= groups and dim % groups == 0, f"a divisor of dim={dim}")
        _check_range("decay", decay, 0.0 <= decay < 1.0, "0 up to, not including, 1")
        _check_range("epsilon", epsilon, epsilon > 0.0, "above 0")
        _check_range("kmeans_iterations", kmeans_iterations, kmeans_iterations >= 1, "1 or more")
        _check_range("revive_below", revive_below, 0.0 <= revive_below < 1.0, "0 to under 1 (share of the mean)")
        _check_range("topk", topk, 1 <= topk <= codebook_size, f"1 to codebook_size={codebook_size}")
        _check_range("temperature", temperature, temperature > 0.0, "above 0")
        _check_range("entropy_temperature", entropy_temperature, entropy_temperature > 0.0, "above 0")
        self.dim = dim
        self.codebook_size = codebook_size
        self.groups = groups
        self.metric = metric
        self.codebook_update = codebook_update
        self.estimator = estimator
        self.commitment_weight = commitment_weight
        self.codebook_weight = codebook_weight
        self.decay = decay
        self.epsilon = epsilon
        self.kmeans_init = kmeans_init
        self.kmeans_iterations = kmeans_iterations
        self.revive_below = revive_below
        self.topk = topk
        self.temperature = temperature
        self.entropy_weight = entropy_weight
        self.entropy_diversity = entropy_diversity
        self.entropy_temperature = entropy_temperature
        self.precision = precision
        self.seed = int(seed)  # a Python integer: NumPy's overflow
        self.synchronize = synchronize
        self.impl = impl

        by_group = () if groups == 1 else (groups,)
        # At least float32, whatever the default: lower, moving averages would stand still.
        dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
        weight = torch.empty(*by_group, codebook_size, dim // groups, dtype=dtype)
        if codebook_update == "gradient":
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)
            self.register_buffer("cluster_sum", torch.empty_like(weight))
        if self._keeps_sizes:
            self.register_buffer("cluster_size", torch.empty(*by_group, codebook_size, dtype=dtype))
        if revive_below > 0.0:
            self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        if kmeans_init:
            self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))
        # Known on the host, so that later steps do not even look: k-means may have to run in the next training step.
        self._kmeans_pending = kmeans_init
        self._last_codebook = LastCodebook()
        self.reset_parameters()

    @property
    def _keeps_sizes(self) -> bool:
        return self.codebook_update == "ema" or self.revive_below > 0.0

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the codebook anew from the global random generator and forget all statistics."""
        if self.codebook_update == "ema":
            self.weight.normal_()
        else:
            self.weight.uniform_(-1.0 / self.codebook_size, 1.0 / self.codebook_size)
        if self.metric == "cosine":
            self.weight.copy_(functional.normalize(self.weight, dim=-1))
        if self.codebook_update == "ema":
            self.cluster_sum.copy_(self.weight)
        if self._keeps_sizes:
            self.cluster_size.fill_(1.0)
        if self.revive_below > 0.0:
            self.step.zero_()
        if self.kmeans_init:
            self.initialized.zero_()
            self._kmeans_pending = True

    @property
    def codebook(self) -> Tensor:
        """The codes as they are looked up: ``(K, D)``, or ``(G, K, D / G)``; of unit length with the cosine metric."""
        return functional.normalize(self.weight, dim=-1) if self.metric == "cosine" else self.weight

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes ``(..., D)`` of ``indices (...)``, or of ``(..., G)`` with several groups; differentiable."""
        if self.groups == 1:
            return functional.embedding(indices, self.codebook)
        if indices.shape[-1:] != (self.groups,):
            raise InputError(
                f"VectorQuantizer.lookup: indices has shape {tuple(indices.shape)}; "
                f"the last dimension must be groups={self.groups}"
            )
        return _gather(self.codebook, indices).flatten(-2)

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
        self._check_input(x, mask)
        update = self.training if update is None else update
        leading = x.shape[:-1]
        # (N, G, D / G): row by row, as the lookup takes it.
        rows = x.reshape(-1, self.groups, self.dim // self.groups)
        rows = rows.to(torch.promote_types(x.dtype, torch.float32))
        if self.metric == "cosine":
            rows = functional.normalize(rows, dim=-1)
        usable = rows.detach().isfinite().all(-1)
        if mask is not None:
            usable = usable & mask.reshape(-1, 1)
        if update and self._kmeans_pending:
            self._kmeans_pending = False
            self._initialize(rows, usable)

        weight, codebook = self._codes(rows, update)
        found = vq_lookup(
            rows,
            codebook,
            topk=self.topk,
            precision=self.precision,
            return_scores=self.topk > 1,
            impl=self.impl,
        )
        indices = found.indices if self.topk == 1 else found.indices[..., 0]
        chosen = _gather(weight, indices).to(rows.dtype)

        loss = self._loss(rows, chosen, weight, usable, mask)
        quantized = (rotation_trick if self.estimator == "rotation" else straight_through)(rows, chosen)
        counts = self._update(rows, indices, usable, update)
        share = counts / counts.sum(-1, keepdim=True).clamp_min(1.0)

        def shaped(values: Tensor) -> Tensor:
            values = values if self.groups > 1 else values.squeeze(1)
            return values.reshape((*leading, *values.shape[1:]))

        several = found.scores is not None
        return QuantizerOutput(
            quantized=quantized.to(x.dtype).reshape(x.shape),
            indices=shaped(indices),
            loss=loss,
            perplexity=torch.special.entr(share).sum(-1).exp().mean(),
            usage=(counts > 0).to(share.dtype).mean(),
            candidates=shaped(found.indices) if several else None,
            weights=shaped((found.scores / self.temperature).softmax(-1)) if found.scores is not None else None,
        )

    def _codes(self, rows: Tensor, update: bool) -> tuple[Tensor, Tensor | PackedCodebook]:
        """The codes ``(G, K, d)`` for autograd, and the same for the lookup: packed once while they do not change."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        packed = None
        # Candidates' weights have a gradient with respect to the codes, which ends at a packed codebook.
        if not update and not (learns and self.topk > 1) and LastCodebook.serves(self.weight, rows, self.impl):
            packed = self._last_codebook.packed(self.weight, self._looked_up, self.precision)
        weight = self.weight
        if update and (self.topk > 1 or self.entropy_weight != 0.0 or self.metric == "cosine"):
            weight = weight.clone()  # what autograd keeps must not change when the codebook is updated in place
        weight = self._looked_up(weight) if packed is None or learns else packed._codes
        return weight, weight if packed is None else packed

    def _looked_up(self, weight: Tensor) -> Tensor:
        weight = functional.normalize(weight, dim=-1) if self.metric == "cosine" else weight
        return weight.reshape(self.groups, self.codebook_size, -1)

    def _check_input(self, x: Tensor, mask: Tensor | None) -> None:
        if x.ndim < 1 or x.shape[-1] != self.dim:
            raise InputError(
                f"VectorQuantizer: x has shape {tuple(x.shape)}; its last dimension must be dim={self.dim}"
            )
        if not x.is_floating_point():
            raise InputError(f"VectorQuantizer: x is {x.dtype}; it must be floating point")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:-1]):
            raise InputError(
                f"VectorQuantizer: mask is {mask.dtype} of shape {tuple(mask.shape)}; "
                f"it must be bool of shape {tuple(x.shape[:-1])}"
            )

    def _loss(self, rows: Tensor, chosen: Tensor, weight: Tensor, usable: Tensor, mask: Tensor | None) -> Tensor:
        loss = self.commitment_weight * _mean_square(rows - chosen.detach(), mask)
        if self.codebook_update == "gradient":
            loss = loss + self.codebook_weight * _mean_square(chosen - rows.detach(), mask)
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
    def _initialize(self, rows: Tensor, usable: Tensor) -> None:
        """k-means on the first training batch. After loading a state that is initialised already, the outcome is
        thrown away on the device: the host does not know, and need not ask."""
        means, sizes = kmeans(
            rows.transpose(0, 1),
            usable.transpose(0, 1),
            self.codebook_size,
            self.kmeans_iterations,
            spherical=self.metric == "cosine",
            seed=self.seed,
            synchronize=self.synchronize,
            impl=self.impl,
        )
        keep = self.initialized | (sizes.sum() == 0)  # a batch without a usable row initialises nothing
        sizes = sizes.clamp_min(1.0).reshape(self.weight.shape[:-1])
        means = means.reshape(self.weight.shape)

        def settle(state: Tensor, value: Tensor) -> None:
            state.copy_(torch.where(keep, state, value.to(state.dtype)))

        settle(self.weight, means)
        if self._keeps_sizes:
            settle(self.cluster_size, sizes)
        if self.codebook_update == "ema":
            settle(self.cluster_sum, means * sizes.unsqueeze(-1))
        self.initialized.logical_or_(~keep)

    @torch.no_grad()
    def _update(self, rows: Tensor, indices: Tensor, usable: Tensor, update: bool) -> Tensor:
        """Learn from a batch if that is wanted; returns how many rows chose each code: floating point ``(G, K)``."""
        rows, indices, usable = rows.transpose(0, 1), indices.transpose(0, 1), usable.transpose(0, 1)
        if not (update and self._keeps_sizes):
            return cluster_counts(indices, usable, self.codebook_size).to(rows.dtype)

        averages, revives = self.codebook_update == "ema", self.revive_below > 0.0
        if averages:
            parts = list(cluster_sums(rows, indices, usable, self.codebook_size))
        else:
            parts = [cluster_counts(indices, usable, self.codebook_size).to(rows.dtype)]
        if revives:
            number = min(self.codebook_size, _MOST_REVIVED)
            parts.extend(pick_rows(rows, usable, number, self.seed, self.step, self.synchronize))
            self.step.add_(1)
        parts = all_reduce_packed(parts, self.synchronize)

        counts = parts[0]
        self.cluster_size.lerp_(counts.to(self.cluster_size.dtype).reshape(self.cluster_size.shape), 1.0 - self.decay)
        if averages:
            sums = parts[1].to(self.cluster_sum.dtype).reshape(self.cluster_sum.shape)
            self.cluster_sum.lerp_(sums, 1.0 - self.decay)
            smoothed = smoothed_sizes(self.cluster_size, self.epsilon).unsqueeze(-1)
            codes = torch.where(smoothed > 0.0, self.cluster_sum / smoothed, self.weight)
            self.weight.copy_(functional.normalize(codes, dim=-1) if self.metric == "cosine" else codes)
        if revives:
            self._revive(parts[-2], parts[-1] > 0)
        return counts

    def _dead_codes(self) -> tuple[Tensor, Tensor]:
        """Which codes are dead, and the cluster size a revived one starts with: both in the shape of cluster_size."""
        mean = self.cluster_size.mean(-1, keepdim=True)
        return self.cluster_size < self.revive_below * mean, mean.expand_as(self.cluster_size)

    def _revive(self, picks: Tensor, found: Tensor) -> None:
        """Move the j-th dead code of a group onto the j-th pick ``(G, P, D)``, where one was ``found (G, P)``."""
        dead, fresh_size = self._dead_codes()
        dead = dead.reshape(self.groups, self.codebook_size)
        place = dead.cumsum(-1) - 1
        in_reach = place.clamp(0, picks.shape[1] - 1)
        revived = (dead & (place < picks.shape[1]) & found.gather(1, in_reach)).reshape(self.cluster_size.shape)
        code = picks.gather(1, in_reach.unsqueeze(-1).expand(-1, -1, picks.shape[-1]))
        code = code.reshape(self.weight.shape).to(self.weight.dtype)
        self.weight.copy_(torch.where(revived.unsqueeze(-1), code, self.weight))
        self.cluster_size.copy_(torch.where(revived, fresh_size, self.cluster_size))
        if self.codebook_update == "ema":
            summed = code * fresh_size.unsqueeze(-1)
            self.cluster_sum.copy_(torch.where(revived.unsqueeze(-1), summed, self.cluster_sum))

    def train(self, mode: bool = True) -> VectorQuantizer:
        """As in every module; training also lets go of the codebook that evaluation had packed."""
        if mode:
            self._last_codebook.clear()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> VectorQuantizer:
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            lowered = moved.is_floating_point() and torch.finfo(moved.dtype).bits < 32
            return tensor.to(moved.device) if lowered else moved

        self._last_codebook.clear()
        super()._apply(keep_precision, recurse)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("weight", "cluster_size", "cluster_sum"):
            value = state_dict.get(prefix + name)
            if isinstance(value, Tensor) and value.is_floating_point():  # load_state_dict(assign=True) keeps the dtype
                state_dict[prefix + name] = value.to(torch.promote_types(value.dtype, torch.float32))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._kmeans_pending = self.kmeans_init

    def extra_repr(self) -> str:
        return (
            f"dim={self.dim}, codebook_size={self.codebook_size}, groups={self.groups}, metric={self.metric!r}, "
            f"codebook_update={self.codebook_update!r}, estimator={self.estimator!r}"
        )


def _gather(codes: Tensor, indices: Tensor) -> Tensor:
    """Codes ``(..., G, d)`` of ``indices (..., G)`` in ``codes (G, K, d)``."""
    groups, size, length = codes.shape
    offset = torch.arange(groups, device=codes.device) * size
    return functional.embedding(indices + offset, codes.reshape(groups * size, length))


def _mean_square(error: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the squares of ``error (N, G, d)`` over the vectors in ``mask (...)``; 0 without any."""
    if mask is None:
        return error.square().sum() / max(error.numel(), 1)
    kept = mask.reshape(-1, 1, 1)
    elements = kept.sum() * (error.shape[1] * error.shape[2])
    return torch.where(kept, error, 0.0).square().sum() / elements.clamp_min(1)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"VectorQuantizer: {name}={value!r} is not known; allowed: {', '.join(allowed)}")


def _check_range(name: str, value: float, fits: bool, allowed: str) -> None:
    if not fits:
        raise InputError(f"VectorQuantizer: {name}={value}; allowed: {allowed}")
