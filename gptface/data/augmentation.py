"""Augmentation that belongs to a sample and an epoch, never to the batch, the worker or the rank."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from gptface.data.sample import Sample
from gptface.errors import InputError
from gptface.faces.landmark_schemes import SCHEMES
from gptface.faces.landmarks import mirror_landmarks

__all__ = ["HorizontalFlip"]

# "to the left", "her right hand": mirrored, such a caption would be false ("right" in other senses costs a flip).
SIDES = re.compile(r"\b(left|right)(wards?|most)?\b", re.IGNORECASE)


class HorizontalFlip:
    """Mirrors a sample with ``probability``, by a coin that is a function of (seed, epoch, sample_id) alone.

    The region map and ``metadata["landmarks"]`` (in pixels, of a known scheme) are mirrored along, ``metadata["pose"]``
    has its yaw and roll negated, and ``metadata["flipped"]`` is set. A sample whose caption speaks of left or right is
    left as it is.
    """

    def __init__(self, seed: int, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise InputError(f"probability: {probability}; it must be from 0 to 1")
        self.seed = seed
        self.probability = probability

    def decides(self, sample_id: int, epoch: int) -> bool:
        """The coin's outcome, from Philox4x64-10 with key (seed, sample_id) and counter epoch."""
        generator = np.random.Philox(key=np.array([self.seed, sample_id], dtype=np.uint64), counter=epoch)
        return int(generator.random_raw()) < self.probability * 2.0**64

    def __call__(self, sample: Sample, epoch: int) -> Sample:
        if not self.decides(sample.sample_id, epoch) or SIDES.search(sample.caption):
            return sample
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
