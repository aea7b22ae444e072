"""What a codebook learns from a batch: deterministic segment sums, and the rows that revive dead codes.

Everything here runs on the device without asking the host, and means the same on one process and on many.
Shapes carry a leading group dimension G.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

__all__ = ["all_reduce_packed", "cluster_counts", "cluster_sums", "pick_rows", "processes", "smoothed_sizes"]

_BITS = 31
_MASK = (1 << _BITS) - 1
_GOLDEN = 1327217885  # 2³¹ times the fraction of the golden ratio, made odd
_SILVER = 889516853  # 2³¹ times the fraction of the square root of two, made odd


def _labels(indices: Tensor, usable: Tensor, size: int) -> Tensor:
    """One label a row, distinct between groups; a group's last label, ``size``, collects what is left out."""
    group = torch.arange(indices.shape[0], device=indices.device).unsqueeze(1)
    return (torch.where(usable, indices, size) + group * (size + 1)).reshape(-1)


def _label_counts(labels: Tensor, number: int) -> Tensor:
    counts = torch.zeros(number, dtype=torch.int64, device=labels.device)
    return counts.scatter_add_(0, labels, torch.ones_like(labels))


def cluster_counts(indices: Tensor, usable: Tensor, size: int) -> Tensor:
    """How many usable rows chose each code: int64 ``(G, K)`` for indices and usable ``(G, N)``."""
    groups = indices.shape[0]
    counts = _label_counts(_labels(indices, usable, size), groups * (size + 1))
    return counts.reshape(groups, size + 1)[:, :size]


def cluster_sums(rows: Tensor, indices: Tensor, usable: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Number and sum of the rows of every code.

    The rows of a code are added in their order (a stable sort, then one sum a segment), so that the same input gives
    the same bits: no atomics, no one-hot matrix.

    Args:
        rows: ``(G, N, D)`` float32 or float64.
        indices: int64 ``(G, N)`` in ``[0, size)``.
        usable: bool ``(G, N)``; other rows are left out, whatever they hold.
        size: K.

    Returns:
        counts ``(G, K)`` and sums ``(G, K, D)`` in the dtype of ``rows``.
    """
    groups, number, length = rows.shape
    labels = _labels(indices, usable, size)
    counts = _label_counts(labels, groups * (size + 1))
    order = labels.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    sums = functional.embedding_bag(order, rows.reshape(groups * number, length), starts, mode="sum")
    counts = counts.reshape(groups, size + 1)[:, :size].to(rows.dtype)
    return counts, sums.reshape(groups, size + 1, length)[:, :size]


def smoothed_sizes(sizes: Tensor, epsilon: float) -> Tensor:
    """Laplace-smoothed cluster sizes ``(..., K)`` of the same total n: ``n (s + ε) / (n + K ε)``."""
    total = sizes.sum(-1, keepdim=True)
    return (sizes + epsilon) / (total + sizes.shape[-1] * epsilon) * total


def processes(synchronize: bool) -> tuple[int, int]:
    """(rank, number of processes) of the default process group as it is now; (0, 1) without one, or if not wanted."""
    if synchronize and dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_reduce_packed(parts: list[Tensor], synchronize: bool = True) -> list[Tensor]:
    """Sum every tensor over all processes, in one collective call; a single process gets them back as they are."""
    if processes(synchronize)[1] == 1:
        return parts
    packed = torch.cat([part.reshape(-1) for part in parts])
    dist.all_reduce(packed)
    pieces = packed.split([part.numel() for part in parts])
    return [piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)]


def pick_rows(
    rows: Tensor, usable: Tensor, number: int, seed: int, step: Tensor, synchronize: bool = True
) -> tuple[Tensor, Tensor]:
    """This process's share of ``number`` rows of the joint batch of all processes; the sum of the shares is the rows.

    The j-th pick lies at the fraction ``frac(u(seed, step) + j·φ)`` of the joint batch (processes in the order of
    their rank), φ the golden ratio: a Kronecker sequence. Picks are spread evenly, all different while the batch has
    at least about three times as many rows, other ones each step, and, where all processes hold equally many rows, the
    very ones a single process would take from the joined batch.

    Args:
        rows: ``(G, N, D)``; the same picks are made in every group.
        usable: bool ``(G, N)``; a pick that is not usable counts as none.
        number: how many.
        seed: any integer.
        step: int64 scalar tensor on the device of ``rows``.
        synchronize: whether the batch is joint; otherwise it is this process's own.

    Returns:
        picks ``(G, number, D)`` and found ``(G, number)`` (1 or 0); both 0 where another process owns the pick.
    """
    groups, available, length = rows.shape
    rank, total = processes(synchronize)
    if available == 0:
        return rows.new_zeros(groups, number, length), rows.new_zeros(groups, number)
    start = (seed * 0x9E3779B97F4A7C15 >> 32) & _MASK
    # 31-bit fixed-point fractions: products with the number of processes or rows stay within 63 bits.
    fraction = (torch.arange(number, device=rows.device) * _GOLDEN + step * _SILVER + start) & _MASK
    position = fraction * total
    row = ((position & _MASK) * available) >> _BITS
    found = ((position >> _BITS) == rank) & usable[:, row]
    picks = torch.where(found.unsqueeze(-1), rows[:, row], 0.0)
    return picks, found.to(rows.dtype)
