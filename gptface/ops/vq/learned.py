"""``LearnedCodebook``: the codes of a quantizer, what it remembers of the batches, and how both change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gptface.errors import InputError
from gptface.ops.vq.codebook import all_reduce_packed, cluster_counts, cluster_sums, pick_rows, smoothed_sizes
from gptface.ops.vq.kmeans import kmeans
from gptface.ops.vq.packed import LastCodebook, PackedCodebook, Precision
from gptface.ops.vq.rows import vector_rows

__all__ = ["BatchStatistics", "LearnedCodebook", "check_choice", "check_range", "gather_codes"]

_MOST_REVIVED = 1024  # codes a step: bounds what revival adds to the packed all-reduce


class BatchStatistics(NamedTuple):
    """What a codebook learns from the joint batch of all processes.

    Attributes:
        counts: how many rows chose each code: floating point ``(G, K)``.
        sums: of those rows: ``(G, K, d)``. ``None`` where no averages are kept.
        picks: rows for dead codes ``(G, P, d)``, and which of them were found: bool ``(G, P)``. ``None`` where dead
            codes are not revived.
    """

    counts: Tensor
    sums: Tensor | None
    picks: tuple[Tensor, Tensor] | None


class LearnedCodebook(nn.Module):
    """Codes of one or more groups with their moving averages, k-means initialisation and revival.

    The part of :class:`gptface.ops.VectorQuantizer` that knows neither gradient estimators nor losses; its arguments
    and its state are explained there.
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
        groups: int,
        metric: Literal["euclidean", "cosine"],
        codebook_update: Literal["ema", "gradient"],
        decay: float,
        epsilon: float,
        kmeans_init: bool,
        kmeans_iterations: int,
        revive_below: float,
        precision: Precision = "exact",
        seed: int = 0,
        synchronize: bool = True,
        impl: str = "auto",
    ) -> None:
        super().__init__()
        check_choice("metric", metric, ("euclidean", "cosine"))
        check_choice("codebook_update", codebook_update, ("ema", "gradient"))
        check_range("codebook_size", codebook_size, codebook_size >= 1, "1 or more")
        check_range("groups", groups, groups >= 1 and dim >= groups and dim % groups == 0, f"a divisor of dim={dim}")
        check_range("decay", decay, 0.0 <= decay <= 1.0, "0 to 1")
        check_range("epsilon", epsilon, epsilon > 0.0, "above 0")
        check_range("kmeans_iterations", kmeans_iterations, kmeans_iterations >= 1, "1 or more")
        check_range("revive_below", revive_below, 0.0 <= revive_below < 1.0, "0 to under 1 (share of the mean)")
        self.dim = dim
        self.codebook_size = codebook_size
        self.groups = groups
        self.metric = metric
        self.codebook_update = codebook_update
        self.decay = decay
        self.epsilon = epsilon
        self.kmeans_init = kmeans_init
        self.kmeans_iterations = kmeans_iterations
        self.revive_below = revive_below
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
        return gather_codes(self.codebook, indices).flatten(-2)

    def _prepared(self, x: Tensor, mask: Tensor | None, update: bool) -> tuple[Tensor, Tensor]:
        """Rows ``(N, G, D / G)`` of ``x`` as the lookup takes them, and which of them count: bool ``(N, G)``.

        k-means runs on them if it is still to come.
        """
        rows, usable = vector_rows("VectorQuantizer", x, mask, self.dim, self.groups)
        if self.metric == "cosine":
            rows = functional.normalize(rows, dim=-1)
        if update and self._kmeans_pending:
            self._kmeans_pending = False
            self._initialize(rows, usable)
        return rows, usable

    def _codes(
        self, rows: Tensor, update: bool, *, scored: bool = False, kept: bool = False
    ) -> tuple[Tensor, Tensor | PackedCodebook]:
        """The codes ``(G, K, d)`` for autograd, and the same for the lookup: packed once while they do not change.

        Args:
            scored: the lookup's scores are wanted with a gradient to the codes, which ends at a packed codebook.
            kept: autograd keeps the codes, so that an update in place must not reach them.
        """
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        packed = None
        if not update and not (learns and scored) and LastCodebook.serves(self.weight, rows, self.impl):
            packed = self._last_codebook.packed(self.weight, self._looked_up, self.precision)
        weight = self.weight
        if update and (kept or self.metric == "cosine"):
            weight = weight.clone()
        weight = self._looked_up(weight) if packed is None or learns else packed._codes
        return weight, weight if packed is None else packed

    def _looked_up(self, weight: Tensor) -> Tensor:
        weight = functional.normalize(weight, dim=-1) if self.metric == "cosine" else weight
        return weight.reshape(self.groups, self.codebook_size, -1)

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

    def _statistics(
        self, rows: Tensor, indices: Tensor, usable: Tensor, *, sums: bool, revives: bool
    ) -> BatchStatistics:
        """Of ``rows (N, G, d)`` that chose ``indices (N, G)``, in one all-reduce."""
        rows, indices, usable = rows.detach().transpose(0, 1), indices.transpose(0, 1), usable.transpose(0, 1)
        if sums:
            parts = list(cluster_sums(rows, indices, usable, self.codebook_size))
        else:
            parts = [cluster_counts(indices, usable, self.codebook_size).to(rows.dtype)]
        if revives:
            parts.extend(self._own_picks(rows, usable))
        parts = all_reduce_packed(parts, self.synchronize)
        return BatchStatistics(parts[0], parts[1] if sums else None, (parts[-2], parts[-1] > 0) if revives else None)

    def _own_picks(self, rows: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        """This process's share of the rows for dead codes; the next call picks others."""
        number = min(self.codebook_size, _MOST_REVIVED)
        picks = pick_rows(rows, usable, number, self.seed, self.step, self.synchronize)
        self.step.add_(1)
        return picks

    def _average(self, counts: Tensor, sums: Tensor | None, rate: float | Tensor) -> None:
        """Move the averages towards ``counts (G, K)`` and ``sums (G, K, d)`` by a share: a number, or ``(G, K)``."""
        size = self.cluster_size
        if isinstance(rate, Tensor):
            rate = rate.to(size.dtype).reshape(size.shape)
        size.lerp_(counts.to(size.dtype).reshape(size.shape), rate)
        if sums is not None:
            rate = rate.unsqueeze(-1) if isinstance(rate, Tensor) else rate
            self.cluster_sum.lerp_(sums.to(self.cluster_sum.dtype).reshape(self.cluster_sum.shape), rate)

    def _follow_averages(self) -> None:
        """Put every code where the averages say that it is."""
        smoothed = smoothed_sizes(self.cluster_size, self.epsilon).unsqueeze(-1)
        codes = torch.where(smoothed > 0.0, self.cluster_sum / smoothed, self.weight)
        self.weight.copy_(functional.normalize(codes, dim=-1) if self.metric == "cosine" else codes)

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

    def train(self, mode: bool = True) -> LearnedCodebook:
        """As in every module; training also lets go of the codebook that evaluation had packed."""
        if mode:
            self._last_codebook.clear()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LearnedCodebook:
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


def gather_codes(codes: Tensor, indices: Tensor) -> Tensor:
    """Codes ``(..., G, d)`` of ``indices (..., G)`` in ``codes (G, K, d)``; differentiable."""
    groups, size, length = codes.shape
    offset = torch.arange(groups, device=codes.device) * size
    return functional.embedding(indices + offset, codes.reshape(groups * size, length))


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise unless an argument of a quantizer is one of the words allowed."""
    if value not in allowed:
        raise InputError(f"VectorQuantizer: {name}={value!r} is not known; allowed: {', '.join(allowed)}")


def check_range(name: str, value: float, fits: bool, allowed: str) -> None:
    """Raise unless an argument of a quantizer fits; ``allowed`` says what does."""
    if not fits:
        raise InputError(f"VectorQuantizer: {name}={value}; allowed: {allowed}")
