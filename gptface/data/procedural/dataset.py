"""Procedural faces as a map-style data set."""

from __future__ import annotations

from gptface.data.sample import Sample
from gptface.errors import InputError
from gptface.integers import whole_number

from .captions import describe
from .randomness import Draws, sample_identity
from .rendering import LARGEST, SMALLEST, render_face
from .sampling import sample_specification, unusual_specification
from .specification import FaceSpecification, attributes, hidden_attributes

__all__ = ["ProceduralFaces"]


class ProceduralFaces:
    """Faces ``start`` to ``start + count - 1`` of generator ``seed``, rendered when asked for.

    Item i is face ``start + i``, the same for every ``start``, ``count`` and size; two sets of the same seed that do
    not overlap in index are a clean split.

    Args:
        seed: of the generator.
        size: of the square images, 16 to 1024 pixels.
        start: first index.
        count: how many.
        correlation: probability that a caption speaks of its own face (see ``captions``).
        occluder_probability: share of faces behind a medical mask, sunglasses or a hand.
        detail: share of captions that state all that their length allows instead of three to six facts.
        unusual: share of faces with one or two attributes that do not go with the rest
            (:func:`~gptface.data.procedural.sampling.unusual_specification`).

    Raises:
        InputError: an argument out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        size: int = 64,
        start: int = 0,
        count: int = 10_000,
        correlation: float = 1.0,
        occluder_probability: float = 0.2,
        detail: float = 0.0,
        unusual: float = 0.0,
    ) -> None:
        seed, size = whole_number(seed, "seed"), whole_number(size, "size")
        start, count = whole_number(start, "start"), whole_number(count, "count")
        if not SMALLEST <= size <= LARGEST:
            raise InputError(f"size is {size}; it must lie between {SMALLEST} and {LARGEST} pixels")
        if start < 0 or count < 1:
            raise InputError(f"start is {start} and count is {count}; start must be 0 or more and count 1 or more")
        shares = {
            "correlation": correlation,
            "occluder_probability": occluder_probability,
            "detail": detail,
            "unusual": unusual,
        }
        for name, share in shares.items():
            if not 0.0 <= share <= 1.0:
                raise InputError(f"{name} is {share}; it must lie between 0 and 1")
        self.seed, self.size, self.start, self.count = seed, size, start, count
        self.correlation, self.occluder_probability, self.detail = correlation, occluder_probability, detail
        self.unusual = unusual

    def __len__(self) -> int:
        return self.count

    def specification(self, item: int) -> FaceSpecification:
        """What item ``item`` shows."""
        if not 0 <= item < self.count:
            raise IndexError(f"item {item} of {self.count} faces")
        index = self.start + int(item)
        s = sample_specification(self.seed, index, occluder_probability=self.occluder_probability)
        if self.unusual and Draws(self.seed, index).chance("unusual", self.unusual):
            return unusual_specification(s, self.seed, index)
        return s

    def __getitem__(self, item: int) -> Sample:
        s = self.specification(item)
        index = self.start + int(item)
        face = render_face(s, self.size)
        return Sample(
            image=face.image,
            caption=describe(s, self.seed, index, self.correlation, self.detail),
            sample_id=sample_identity(self.seed, index),
            metadata={
                "seed": self.seed,
                "index": index,
                "attributes": attributes(s),
                "hidden_attributes": sorted(hidden_attributes(s)),
                "expression": s.expression,
                "occluder": s.occluder,
                "pose": {"yaw": s.yaw, "pitch": s.pitch, "roll": s.roll},
                "landmarks": face.landmarks,
                "width": self.size,
                "height": self.size,
            },
            region_map=face.region_map,
        )
