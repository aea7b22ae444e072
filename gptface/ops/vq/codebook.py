"""What a codebook learns from a batch: deterministic segment sums, the moving average, and which rows revive dead codes.

Everything here runs on the device without asking the host, and means the same on one process and on many.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

__all__ = ["all_reduce_packed", "cluster_sums", "pick_rows", "process_rank", "smoothed_sizes"]

_BITS = 31
_MASK = (1 << _BITS) - 1
_GOLDEN = 1327217885  # 2³¹ times the golden ratio's fraction, odd
_SILVER = 889516853  # 2³¹ times the square root of two's fraction, odd


def cluster_sums(rows: Tensor, indices: Tensor, usable: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Number and sum of the rows of every code.

    Args:
        rows: ``(G, N, D)`` float32 or float64.
        indices: int64 ``(G, N)`` in ``[0, size)``.
        usable: bool ``(G, N)``; other rows are left out, whatever they hold.
        size: K.

    Returns:
        counts ``(G, K)`` and sums ``(G, K, D)`` in the dtype of ``rows``. The rows are added in their order (a stable
        sort, then one sum a segment), so the same input gives the same bits: no atomics, no one-hot matrix.
    """
    groups, number, length = rows.shape
    bins = size + 1  # the last bin of a group collects what is left out
    group = torch.arange(groups, device=rows.device).unsqueeze(1)
    label = (torch.where(usable, indices, size) + group * bins).reshape(-1)
    counts = torch.zeros(groups * bins, dtype=torch.int64, device=rows.device)
    counts.scatter_add_(0, label, torch.ones_like(label))
    order = label.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    sums = functional.embedding_bag(order, rows.reshape(groups * number, length), starts, mode="sum")
    counts = counts.reshape(groups, bins)[:, :size].to(rows.dtype)
    return counts, sums.reshape(groups, bins, length)[:, :size]


def smoothed_sizes(sizes: Tensor, epsilon: float) -> Tensor:
    """Laplace-smoothed cluster sizes ``(G, K)``, of the same total: ``n (s + ε) / (n + K ε)``."""
    total = sizes.sum(-1, keepdim=True)
    return (sizes + epsilon) / (total + sizes.shape[-1] * epsilon) * total


def process_rank() -> tuple[int, int]:
    """(rank, number of processes) of the default group as it is now; (0, 1) without one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_reduce_packed(parts: list[Tensor]) -> list[Tensor]:
    """Sum every tensor over all processes, with one collective call; a single process gets them back as they are."""
    if process_rank()[1] == 1:
        return parts
    packed = torch.cat([part.reshape(-1) for part in parts])
    dist.all_reduce(packed)
    pieces = packed.split([part.numel() for part in parts])
    return [piece.reshape(part.shape) for piece, part in zip(pieces, parts, strict=True)]


def pick_rows(rows: Tensor, usable: Tensor, number: int, seed: int, step: Tensor) -> tuple[Tensor, Tensor]:
    """This process's share of ``number`` rows of the joint batch of all processes; sum the shares to have the rows.

    The ``j``-th pick lies at the fraction ``frac(u(seed, step) + j·φ)`` of the joint batch (processes in the order of
    their rank), φ the golden ratio: a Kronecker sequence. Picks are spread evenly, all different while the batch has at
    least about three times as many rows, other ones each step, and, where all processes hold equally many rows, the
    same ones a single process would take from the joined batch.

    Args:
        rows: ``(G, N, D)``; the same picks are made in every group.
        usable: bool ``(G, N)``; a pick that is not usable counts as none.
        number: how many.
        seed: any integer.
        step: int64 scalar tensor on the device of ``rows``.

    Returns:
        picks ``(G, number, D)`` and found ``(G, number)`` (1 or 0), zero where another process owns the pick.
    """
    groups, available, length = rows.shape
    rank, processes = process_rank()
    if available == 0:
        return rows.new_zeros(groups, number, length), rows.new_zeros(groups, number)
    start = (seed * 0x9E3779B97F4A7C15 >> 32) & _MASK
    fraction = (torch.arange(number, device=rows.device) * _GOLDEN + (step * _SILVER & _MASK) + start) & _MASK
    position = fraction * processes
    owned = (position >> _BITS) == rank
    row = ((position & _MASK) * available) >> _BITS
    found = owned & usable[:, row]
    picks = torch.where(found.unsqueeze(-1), rows[:, row], 0.0)
    return picks, found.to(rows.dtype)
