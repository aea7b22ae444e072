"""Faces to measure on, from shards or from a public set as it is published: features of them, a batch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from gptface.data.public import celebamask, lapa
from gptface.data.public.celebamask import CelebAMaskHQ
from gptface.data.public.lapa import LaPa
from gptface.data.public.recognition import TEST_SPLITS, open_public_set, possible_sets, recognise
from gptface.data.sample import Sample, Samples, Skipped
from gptface.data.shards import FaceShards
from gptface.errors import InputError
from gptface.evaluation.encoders import FaceEncoder, named_features
from gptface.evaluation.training_pictures import plain_pictures
from gptface.faces.regions import REGIONS

__all__ = ["FaceSource", "mean_features", "samples_in_batches"]

BATCH = 64


@dataclass(frozen=True)
class FaceSource:
    """Where faces are.

    Attributes:
        paths: shards, globs or directories; or one folder of a public set.
        split: of the public set; ``test`` is the one that papers report on.
        name: which faces these are, for messages.
    """

    paths: Sequence[str]
    split: str
    name: str

    def open(self, size: int) -> Samples:
        """The samples at ``size``² pixels.

        Raises:
            InputError: no such files, or a public set that is not as published.
        """
        public = self.public_set()
        if public is None:
            return FaceShards(list(self.paths), size)
        split = TEST_SPLITS.get(public, self.split) if self.split == "test" else self.split
        return open_public_set(self.paths[0], split, size, public)

    def public_set(self) -> str | None:
        """The public set that the one folder holds; ``None`` for shards.

        Raises:
            InputError: the folder may be two of them.
        """
        if len(self.paths) != 1 or not possible_sets(self.paths[0]):
            return None
        return recognise(self.paths[0])  # of two, neither is guessed

    def open_with_labels(self, size: int) -> tuple[Samples, tuple[str, ...]]:
        """Samples with label maps, and the names of the labels: LaPa's or CelebAMask-HQ's own, else ``REGIONS``.

        Own labels are ``metadata["published_labels"]`` of a sample, regions its ``region_map``.

        Raises:
            InputError: as of :meth:`open`; a public set without label maps.
        """
        samples = self.open(size)
        if isinstance(samples, LaPa):
            return LaPa(self.paths[0], self.split, size, published=True), lapa.PUBLISHED_CLASSES
        if isinstance(samples, CelebAMaskHQ):
            return CelebAMaskHQ(self.paths[0], self.split, size, published=True), celebamask.PUBLISHED_CLASSES
        if not isinstance(samples, FaceShards):
            raise InputError(f"{self.name}: {self.paths[0]} has no label maps; LaPa and CelebAMask-HQ have")
        return samples, REGIONS


def samples_in_batches(
    dataset: Samples, usable: Callable[[Sample], bool], skipped: Counter[str], batch: int = BATCH
) -> Iterator[list[Sample]]:
    """The usable samples of a data set in order, so many at a time; what is left out is counted by reason."""
    held: list[Sample] = []
    for number in range(len(dataset)):
        item = dataset[number]
        if isinstance(item, Skipped):
            skipped[item.reason] += 1
        elif not usable(item):
            skipped["no label"] += 1
        else:
            held.append(item)
        if len(held) == batch:
            yield held
            held = []
    if held:
        yield held


@torch.inference_mode()
def mean_features(encoder: FaceEncoder, images: np.ndarray) -> dict[str, np.ndarray]:
    """Features of faces by the encoder's names: patches averaged, summaries as they are; float32 (N, D).

    Args:
        images: uint8 (N, S, S, 3).

    Raises:
        InputError: features that are not finite.
    """
    weights = next(encoder.parameters(), None) if isinstance(encoder, nn.Module) else None
    device = torch.device("cpu") if weights is None else weights.device
    pictures = plain_pictures(torch.from_numpy(images).movedim(3, 1).to(device), encoder.image_size)
    found = {}
    for name, values in named_features(encoder, pictures).items():
        rows = (values.mean(1) if values.ndim == 3 else values).float()
        if not bool(rows.isfinite().all()):
            raise InputError(f"encoder: its features ({name}) are not finite")
        found[name] = rows.cpu().numpy()
    return found
