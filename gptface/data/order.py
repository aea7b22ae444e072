"""Which sample comes when: one endless sequence of shuffled epochs, cut into batches and dealt to the ranks.

Everything here is a pure function of (number of samples, seed, position), so that any process can say what any other
one reads, and a run that goes on from a position goes on exactly.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gptface.errors import InputError

__all__ = ["epoch_order", "one_pass_indices", "training_batch"]


@lru_cache(maxsize=4)  # a batch needs one epoch's order, or two at the seam
def epoch_order(count: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """The order of an epoch: int64 (count,), a permutation of ``range(count)``; read-only.

    A sample's place is the rank of a 64-bit random key, drawn by Philox4x64-10 from (seed, epoch). NumPy keeps the raw
    output of that generator the same in all versions (it does not promise that of ``Generator.permutation``), so a run
    can be resumed under another NumPy.
    """
    if not shuffle:
        order = np.arange(count, dtype=np.int64)
    else:
        key = np.array([seed, epoch], dtype=np.uint64)
        order = np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable").astype(np.int64, copy=False)
    order.setflags(write=False)
    return order


def training_batch(
    count: int, seed: int, position: int, batch_size: int, rank: int, world_size: int, shuffle: bool = True
) -> list[tuple[int, int]]:
    """One rank's batch of the global batch that begins at ``position``: ``batch_size`` pairs (epoch, sample index).

    Epochs follow one another without a seam: with p the position in the endless sequence, sample p is entry p mod count
    of epoch p // count. The global batch is the next batch_size · world_size samples, of which rank r has the r-th run
    of ``batch_size``. So every batch is full, no sample is left out of an epoch or read twice in it, and all ranks have
    the same number of batches; the batch at the end of an epoch goes on into the next one.
    """
    start = position + rank * batch_size
    places = range(start, start + batch_size)
    return [(p // count, int(epoch_order(count, seed, p // count, shuffle)[p % count])) for p in places]


def one_pass_indices(count: int, rank: int, world_size: int) -> range:
    """The samples a rank evaluates: every ``world_size``-th, so that ranks differ by one sample at most."""
    check_rank(rank, world_size)
    return range(rank, count, world_size)


def check_rank(rank: int, world_size: int) -> None:
    """Raises InputError unless 0 <= rank < world_size."""
    if not 0 <= rank < world_size:
        raise InputError(f"rank: {rank} of {world_size} processes; it must be from 0 to {world_size - 1}")
