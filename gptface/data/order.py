"""Which sample comes when: one endless sequence of shuffled epochs, cut into batches and dealt to the ranks.

Everything here is a pure function of (number of samples, seed, position), so that any process can say what any other
one reads, and a run that goes on from a position goes on exactly.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gptface.errors import InputError
from gptface.integers import whole_number

__all__ = ["Position", "computed_order", "epoch_coins", "epoch_order", "faces_digest"]

ROUNDS = 6  # of the network behind `computed_order`; four of random functions make a random permutation (Luby, Rackoff)


@lru_cache(maxsize=4)  # a batch needs one epoch's order, or two at the seam
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: int64 (count,), a permutation of ``range(count)``; read-only.

    A sample's place is the rank of a 64-bit random key, drawn by Philox4x64-10 from (seed, epoch). NumPy keeps the raw
    output of that generator the same in all versions (it does not promise that of ``Generator.permutation``), so a run
    can be resumed under another NumPy.
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    order = np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable").astype(np.int64, copy=False)
    order.setflags(write=False)
    return order


def computed_order(count: int, seed: int, epoch: int, places: np.ndarray) -> np.ndarray:
    """The entries ``places`` of another random order of ``range(count)``, computed one by one: int64, as ``places``.

    Nothing is held, whatever the ``count``: a Feistel network over the next power of four is a permutation of it, and
    an entry that falls outside ``range(count)`` is sent through it again until it is inside (cycle walking), which
    keeps it a permutation. The keys of its rounds are drawn by Philox4x64-10 from (seed, epoch), its round function is
    the finaliser of MurmurHash3.

    Args:
        places: int64, each in ``range(count)``.
    """
    half = np.uint64(max(1, -(-(count - 1).bit_length() // 2)))
    low = np.uint64((1 << int(half)) - 1)
    key = np.array([seed, epoch], dtype=np.uint64)
    keys = np.random.Philox(key=key, counter=2 << 64).random_raw(ROUNDS)
    entries = places.astype(np.uint64)
    outside = np.arange(entries.size)
    while outside.size:
        left, right = entries[outside] >> half, entries[outside] & low
        for word in keys:
            left, right = right, left ^ (_mixed(right ^ word) & low)
        walked = left << half | right
        entries[outside] = walked
        outside = outside[walked >= count]
    return entries.astype(np.int64)


def _mixed(words: np.ndarray) -> np.ndarray:
    """The finaliser of MurmurHash3 over uint64."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        words = (words ^ words >> np.uint64(33)) * np.uint64(factor)
    return words ^ words >> np.uint64(33)


@lru_cache(maxsize=4)
def epoch_coins(count: int, seed: int, epoch: int) -> np.ndarray:
    """A fair coin for every sample of an epoch: bool (count,)."""
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64), counter=1 << 64).random_raw(count)
    return (words >> np.uint64(63)).astype(bool)


def faces_digest(sample_ids: np.ndarray) -> str:
    """A short digest of a data set's identities int64 (n,), in their order: the same wherever its files lie."""
    return hashlib.blake2b(np.ascontiguousarray(sample_ids, np.int64).tobytes(), digest_size=8).hexdigest()


@dataclass
class Position:
    """Where one rank is in the endless sequence of samples.

    Epochs follow one another without a seam: with p the position in the endless sequence, sample p is entry p mod count
    of epoch p // count. The global batch is the next batch_size · world_size samples, of which rank r has the r-th run
    of ``batch_size``. So every batch is full, no sample is left out of an epoch or read twice in it, and all ranks have
    the same number of batches; the batch at the end of an epoch goes on into the next one.

    A position is counted in samples, so a run may go on from it with another batch or world size.

    Attributes:
        count: samples in an epoch.
        seed: of the order, 0 to 2⁶³ − 1.
        batch_size: samples in one rank's batch.
        rank, world_size: which of how many processes this one is.
        samples: handed out by all ranks together since the beginning.
        faces: :func:`faces_digest` of the samples, where it is known.
        computed: take :func:`computed_order`, which holds nothing, instead of :func:`epoch_order`.

    Raises:
        InputError: a number out of its range.
    """

    count: int
    seed: int
    batch_size: int
    rank: int = 0
    world_size: int = 1
    samples: int = 0
    faces: str | None = None
    computed: bool = False

    def __post_init__(self) -> None:
        for name in ("count", "seed", "batch_size", "rank", "world_size", "samples"):
            setattr(self, name, whole_number(getattr(self, name), name))
        if self.count < 1:
            raise InputError("data: it holds no samples")
        if self.batch_size < 1:
            raise InputError(f"batch_size: {self.batch_size}; it must be at least 1")
        if not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed: {self.seed}; it must be from 0 to 2^63 - 1")
        if not 0 <= self.rank < self.world_size:
            raise InputError(
                f"rank: {self.rank} of {self.world_size} processes; it must be from 0 to {self.world_size - 1}"
            )

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """This rank's part of the next global batch: sample indices and their epochs, int64 (batch_size,) each."""
        start = self.samples + self.rank * self.batch_size
        epochs, places = np.divmod(np.arange(start, start + self.batch_size), self.count)
        indices = np.empty_like(places)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            inside = epochs == epoch
            if self.computed:
                indices[inside] = computed_order(self.count, self.seed, epoch, places[inside])
            else:
                indices[inside] = epoch_order(self.count, self.seed, epoch)[places[inside]]
        return indices, epochs

    def advance(self) -> None:
        """Go to the next global batch."""
        self.samples += self.batch_size * self.world_size

    def state_dict(self) -> dict[str, Any]:
        """The position as plain numbers (JSON can hold it)."""
        state = {"position": self.samples, "samples": self.count, "seed": self.seed}
        return state if self.faces is None else {**state, "faces": self.faces}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position.

        Raises:
            InputError: the state is of another seed, or of other faces; the position is left as it was.
        """
        for name, own in (("samples", self.count), ("seed", self.seed)):
            if state.get(name) != own:
                raise InputError(f"data: {name} is {own}, the checkpoint's is {state.get(name)!r}; cannot resume")
        theirs = state.get("faces")
        if theirs is not None and self.faces is not None and theirs != self.faces:
            raise InputError(
                f"data: holds as many samples as the checkpoint's ({self.count}), but of other names or in another "
                "order; cannot resume"
            )
        position = state.get("position")
        if not isinstance(position, int) or position < 0:
            raise InputError(f"data: the checkpoint's position is {position!r}, not a number of samples; cannot resume")
        self.samples = position
