"""Augmentation that belongs to a sample and an epoch, never to the batch, the worker or the rank."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from gptface.data.sample import Sample
from gptface.faces.landmark_schemes import SCHEMES
from gptface.faces.landmarks import mirror_landmarks
from gptface.integers import whole_number

__all__ = ["SIDES", "HorizontalFlip", "mirrored"]

# "to the left", "her right hand": mirrored, such a caption would be false ("right" in other senses costs a flip).
SIDES = re.compile(r"\b(left|right)(wards?|most)?\b", re.IGNORECASE)


class HorizontalFlip:
    """Mirrors half of the samples, by a coin that is a function of (seed, epoch, sample_id) alone.

    A sample whose caption speaks of left or right is left as it is.
    """

    def __init__(self, seed: int) -> None:
        self.seed = whole_number(seed, "seed")

    def decides(self, sample_id: int, epoch: int) -> bool:
        """The coin's outcome, from Philox4x64-10 with key (seed, sample_id) and counter epoch."""
        generator = np.random.Philox(key=np.array([self.seed, sample_id], dtype=np.uint64), counter=epoch)
        return int(generator.random_raw()) < 1 << 63

    def mirrors(self, sample: Sample, epoch: int) -> bool:
        """Whether this sample is mirrored in this epoch."""
        return self.decides(sample.sample_id, epoch) and not SIDES.search(sample.caption)

    def __call__(self, sample: Sample, epoch: int) -> Sample:
        return mirrored(sample) if self.mirrors(sample, epoch) else sample


def mirrored(sample: Sample) -> Sample:
    """The mirror image of a sample, with ``metadata["flipped"]`` set.

    The region map and ``metadata["landmarks"]`` (in pixels, of a known scheme) are mirrored along, and
    ``metadata["pose"]`` has its yaw and roll negated.
    """
    metadata = {**sample.metadata, "flipped": True}
    points = metadata.get("landmarks")
    if points is not None and len(points) in SCHEMES:
        metadata["landmarks"] = mirror_landmarks(points, sample.image.shape[1]).astype(np.float32)
    pose = metadata.get("pose")
    if isinstance(pose, dict):
        metadata["pose"] = {name: -value if name in ("yaw", "roll") else value for name, value in pose.items()}
    labels = sample.region_map
    return dataclasses.replace(
        sample,
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        metadata=metadata,
        region_map=None if labels is None else np.ascontiguousarray(labels[:, ::-1]),
    )
