"""Batches from data that lies in memory: indices and coins per batch, vectorised, with an exact position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from gptface.data.order import check_rank, epoch_order
from gptface.errors import InputError

__all__ = ["CachedBatches", "Selection"]

Batch = TypeVar("Batch")


@dataclass
class Selection:
    """Which samples make a batch.

    Attributes:
        indices: int64 (B,), on the host.
        flips: bool (B,), whether each is to be mirrored.
        epochs: int64 (B,), how often each was chosen before.
    """

    indices: Tensor
    flips: Tensor
    epochs: Tensor


@lru_cache(maxsize=4)
def _coins(count: int, seed: int, epoch: int) -> np.ndarray:
    """A fair coin for every sample and epoch: bool (count,)."""
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64), counter=1 << 64).random_raw(count)
    return (words >> np.uint64(63)).astype(bool)


class CachedBatches(Generic[Batch]):
    """An endless iterator of ``make(selection)``; epochs follow one another without a seam, every batch is full.

    The order is that of :class:`gptface.data.loader.ResumableLoader`: a function of the seed and the position alone,
    dealt to the ranks in runs of ``batch_size``.

    Args:
        count: samples in all.
        make: a batch of what a :class:`Selection` names.
        flips: toss a coin for mirroring; otherwise never.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[Selection], Batch],
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        flips: bool = False,
    ) -> None:
        check_rank(rank, world_size)
        if count < 1:
            raise InputError("data: it holds no samples")
        self.count = count
        self.make = make
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.flips = flips
        self.position = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        selection = self.select(self.position + self.rank * self.batch_size)
        self.position += self.batch_size * self.world_size
        return self.make(selection)

    def select(self, start: int) -> Selection:
        """The samples at positions ``start`` to ``start + batch_size`` of the endless sequence."""
        indices, flips, epochs = [], [], []
        end = start + self.batch_size
        while start < end:
            epoch, first = divmod(start, self.count)
            last = min(self.count, first + end - start)
            chosen = epoch_order(self.count, self.seed, epoch)[first:last]
            indices.append(chosen)
            epochs.append(np.full(len(chosen), epoch, dtype=np.int64))
            if self.flips:
                flips.append(_coins(self.count, self.seed, epoch)[chosen])
            start += last - first
        joined = torch.from_numpy(np.concatenate(indices))
        coins = torch.from_numpy(np.concatenate(flips)) if self.flips else torch.zeros_like(joined, dtype=torch.bool)
        return Selection(joined, coins, torch.from_numpy(np.concatenate(epochs)))

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "samples": self.count, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position.

        Raises:
            InputError: the state is of data of another size or seed.
        """
        for name, own in (("samples", self.count), ("seed", self.seed)):
            if state.get(name) != own:
                raise InputError(f"data: {name} is {own}, the checkpoint's is {state.get(name)!r}; cannot resume")
        self.position = int(state["position"])
