"""k-means over one batch, on the device and over all processes: the first codebook.

The iterations are one opaque operator, so that ``torch.compile`` does not unroll them into the first step's graph.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gptface.ops.vq.api import vq_lookup
from gptface.ops.vq.codebook import all_reduce_packed, cluster_sums, pick_rows

__all__ = ["kmeans"]

_library = torch.library.Library("gptface", "FRAGMENT")
_library.define(
    "kmeans(Tensor rows, Tensor usable, int size, int iterations, bool spherical, int seed, bool synchronize, str impl)"
    " -> (Tensor means, Tensor sizes)"
)


def kmeans(
    rows: Tensor,
    usable: Tensor,
    size: int,
    iterations: int,
    *,
    spherical: bool = False,
    seed: int = 0,
    synchronize: bool = True,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Lloyd's iterations from rows spread evenly over the batch; a code that loses all its rows stays where it is.

    Args:
        rows: ``(G, N, D)`` float32 or float64; of unit length if ``spherical``.
        usable: bool ``(G, N)``; other rows are left out, whatever they hold.
        size: K; with fewer rows than that, some codes are equal.
        iterations: at least 1.
        spherical: keep the means on the unit sphere (the cosine metric).
        seed: of the first rows.
        synchronize: cluster the joint batch of all processes (one all-reduce an iteration).
        impl: of the lookup.

    Returns:
        means ``(G, K, D)`` and the sizes ``(G, K)`` of their clusters in the last iteration, in the dtype of ``rows``.
    """
    means, sizes = torch.ops.gptface.kmeans(rows.detach(), usable, size, iterations, spherical, seed, synchronize, impl)
    return means, sizes


def _kmeans(
    rows: Tensor, usable: Tensor, size: int, iterations: int, spherical: bool, seed: int, synchronize: bool, impl: str
) -> tuple[Tensor, Tensor]:
    first = torch.zeros((), dtype=torch.int64, device=rows.device)
    means, _ = all_reduce_packed(list(pick_rows(rows, usable, size, seed, first, synchronize)), synchronize)
    sizes = rows.new_zeros(means.shape[:2])
    for _ in range(iterations):
        nearest = vq_lookup(rows.transpose(0, 1), means, impl=impl).indices.transpose(0, 1)
        sizes, sums = all_reduce_packed(list(cluster_sums(rows, nearest, usable, size)), synchronize)
        moved = sums / sizes.clamp_min(1.0).unsqueeze(-1)
        if spherical:
            moved = functional.normalize(moved, dim=-1)
        means = torch.where((sizes > 0).unsqueeze(-1), moved, means)
    return means, sizes


def _kmeans_fake(rows: Tensor, usable: Tensor, size: int, *options: object) -> tuple[Tensor, Tensor]:
    groups, _, length = rows.shape
    return rows.new_empty(groups, size, length), rows.new_empty(groups, size)


_library.impl("kmeans", _kmeans, "CompositeExplicitAutograd")
torch.library.register_fake("gptface::kmeans", _kmeans_fake, lib=_library)
