"""The faces of token shards as batches: read by their places in an order that is computed, so that nothing is held."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from gptface.data.augmentation import SIDES, HorizontalFlip
from gptface.data.face_batch import FaceBatch, Needs
from gptface.data.order import Position
from gptface.data.shard_index import expand_pattern
from gptface.data.text import encode_captions
from gptface.data.token_files import TOKEN_SUFFIX, TokenFormat, TokenShard
from gptface.errors import InputError

__all__ = ["TokenBatches", "TokenFaces", "TokensInOrder", "token_files"]

Batch = TypeVar("Batch")


def token_files(paths: Sequence[str]) -> list[str]:
    """The token shards that paths, globs, brace lists and folders name, in their order.

    Raises:
        InputError: there are none.
    """
    files: list[str] = []
    for pattern in paths:
        for path in expand_pattern(pattern):
            found = sorted(map(str, Path(path).glob(f"*{TOKEN_SUFFIX}"))) if os.path.isdir(path) else [path]
            if not found:
                raise InputError(f"{path}: holds no token shard ({TOKEN_SUFFIX})")
            files += found
    return files


class TokenFaces:
    """The faces of token shards, by number.

    Args:
        files: see :func:`token_files`.
        most: at most so many of the first faces.

    Raises:
        InputError: a file is no whole token shard, the shards are of different tokenizers, or they hold no face.

    Attributes:
        form: whose codes they are.
        digest: of the faces' identities, in their order.
        shards: number of files.
    """

    def __init__(self, files: Sequence[str], most: int | None = None) -> None:
        self._shards = [TokenShard(file) for file in files]
        self.form: TokenFormat = self._shards[0].form
        for shard in self._shards:
            if shard.form != self.form:
                raise InputError(
                    f"{shard.path}: was encoded otherwise ({_told(shard.form)}) than {self._shards[0].path} "
                    f"({_told(self.form)}); train on one of them"
                )
        self._starts = np.cumsum([0, *map(len, self._shards)])
        self._count = int(self._starts[-1]) if most is None else min(most, int(self._starts[-1]))
        if not self._count:
            raise InputError(f"{files[0]}: holds no face, and nor do the other token shards")
        self.shards = len(self._shards)
        digests = f"{self._count} {' '.join(shard.digest for shard in self._shards)}"
        self.digest = hashlib.blake2b(digests.encode(), digest_size=8).hexdigest()

    def __len__(self) -> int:
        return self._count

    def captions(self, most: int) -> Iterator[str]:
        """The captions that are not empty of at most ``most`` faces, spread evenly over all."""
        for number in range(0, self._count, max(1, -(-self._count // most))):
            shard, place = self._locate(number)
            yield from filter(None, shard.captions(place))

    def without_regions(self) -> str | None:
        """The first file whose tokens' regions are not known."""
        return next((shard.path for shard in self._shards if not shard.has_regions), None)

    def check(self, needs: Needs, flip: bool) -> None:
        """See that the shards have what a stage needs.

        Raises:
            InputError: they have not.
        """
        if needs.images or needs.region_maps or needs.labels or needs.landmarks:
            raise InputError("data.source: token shards hold codes and captions alone, and this stage needs pictures")
        if flip and self.form.sides < 2:
            raise InputError(
                f"data.flip: must be false, for {self._shards[0].path} was encoded without mirror images"
            )
        if needs.token_regions is not None:
            if needs.token_regions != self.form.grid:
                raise InputError(f"token_regions: {needs.token_regions}; the shards are of {self.form.grid}")
            if (file := self.without_regions()) is not None:
                raise InputError(
                    f"{needs.without_regions} for this data: {file} has faces without a region map; "
                    "`gptface data encode --template` or `--landmarks` gives them one"
                )

    def batch(self, numbers: np.ndarray, epochs: np.ndarray, needs: Needs, flip: HorizontalFlip | None) -> FaceBatch:
        """The faces ``numbers``, each for the ``epochs``-th time, both int64 (B,): codes and what is asked for.

        The caption is the epoch's (``Sample.caption_in_turn``); half of the faces whose caption does not speak of left
        and right are mirrored where there is a ``flip``: the same as of pictures that are read as they are needed.
        """
        tokens = self.form.grid[0] * self.form.grid[1]
        codes = np.empty((len(numbers), tokens), dtype=np.int64)
        regions = None if needs.token_regions is None else np.empty((len(numbers), tokens), dtype=np.int64)
        mirrored = np.zeros(len(numbers), dtype=bool)
        identities = np.empty(len(numbers), dtype=np.int64)
        captions: list[str] = []
        for row, (number, epoch) in enumerate(zip(numbers.tolist(), epochs.tolist(), strict=True)):
            shard, place = self._locate(number)
            identity = identities[row] = shard.sample_id(place)
            several = shard.captions(place)
            caption = several[(int(identity) + epoch) % len(several)]
            captions.append(caption)
            mirrored[row] = flip is not None and flip.decides(int(identity), epoch) and not SIDES.search(caption)
            codes[row] = shard.codes(place, int(mirrored[row]))
            if regions is not None:
                regions[row] = shard.regions(place, int(mirrored[row]))
        batch = FaceBatch(*map(torch.from_numpy, (identities, mirrored, epochs, numbers)))
        batch.codes = torch.from_numpy(codes)
        batch.token_regions = None if regions is None else torch.from_numpy(regions)
        batch.captions = captions if needs.captions else None
        if needs.text is not None:
            batch.text_ids, batch.text_lengths = encode_captions(needs.text[0], captions, needs.text[1])
            batch.host_lengths = batch.text_lengths
        return batch

    def _locate(self, number: int) -> tuple[TokenShard, int]:
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._shards[shard], number - int(self._starts[shard])


def _told(form: TokenFormat) -> str:
    sides = "with" if form.sides > 1 else "without"
    return f"tokenizer {form.tokenizer}, {form.image_size} pixels, {sides} mirror images"


class TokenBatches(Generic[Batch]):
    """An endless iterator of ``make(batch)``, read in this process: a batch takes few milliseconds.

    Args:
        faces: the token shards.
        needs: what the batches must have.
        make: makes a batch of faces on ``device``.
        position: where it begins.
        flip: decides which faces are mirrored.
    """

    def __init__(
        self,
        faces: TokenFaces,
        needs: Needs,
        make: Callable[[FaceBatch], Batch],
        position: Position,
        flip: HorizontalFlip | None,
        device: torch.device,
    ) -> None:
        faces.check(needs, flip is not None)
        self._faces, self._needs, self._make = faces, needs, make
        self._flip, self._device = flip, device
        self.position = position

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        numbers, epochs = self.position.batch()
        batch = self._faces.batch(numbers, epochs, self._needs, self._flip)
        self.position.advance()
        return self._make(_delivered(batch, self._device))

    def state_dict(self) -> dict[str, Any]:
        return self.position.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position.load_state_dict(state)


class TokensInOrder(Generic[Batch]):
    """Every face once and as it is, in batches of which the last may be smaller; again and again where asked."""

    def __init__(
        self,
        faces: TokenFaces,
        needs: Needs,
        make: Callable[[FaceBatch], Batch],
        batch_size: int,
        device: torch.device,
    ) -> None:
        faces.check(needs, False)
        self._faces, self._needs, self._make = faces, needs, make
        self._batch_size, self._device = batch_size, device

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._faces), self._batch_size):
            numbers = np.arange(start, min(start + self._batch_size, len(self._faces)))
            batch = self._faces.batch(numbers, np.zeros_like(numbers), self._needs, None)
            yield self._make(_delivered(batch, self._device))


def _delivered(batch: FaceBatch, device: torch.device) -> FaceBatch:
    return batch if device.type == "cpu" else batch.pin_memory().to(device)


