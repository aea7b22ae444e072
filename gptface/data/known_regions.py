"""Region maps from whatever is known of a face: its label map, else its landmarks, else where faces usually are."""

from __future__ import annotations

import dataclasses

import numpy as np

from gptface.data.landmark_files import LandmarkTable
from gptface.data.sample import Sample, Samples, Skipped
from gptface.faces.landmark_schemes import SCHEMES
from gptface.faces.landmarks import landmark_region_map
from gptface.faces.templates import TEMPLATES

__all__ = ["REGION_NOTES", "REGION_SKIPS", "KnownRegions"]

REGION_NOTES: dict[str, str] = {
    "landmarks_do_not_match": "its landmarks are not 5, 68 or 468 points, not finite, for the most part outside of the "
    "picture, or in one spot: no regions are drawn from them",
}
"""What may be amiss with the regions of a sample in use."""

REGION_SKIPS: dict[str, str] = {
    "no_landmarks": "there is neither a region map nor landmarks of it, and data.template names none to take instead",
    **REGION_NOTES,
}
"""Why a sample is left out where landmarks are asked for."""

SMALLEST = 1 / 16  # of the picture's side: landmarks that span less are no face that regions can be drawn of


class KnownRegions:
    """A data set whose samples have a region map wherever something is known of their faces.

    Pictures are square. A sample's own label map is kept. Where there is none it is drawn from
    ``metadata["landmarks"]`` (with a guess of the hair, see ``landmark_region_map``), and where there are none, or they
    do not match the picture, it is that of the template. ``metadata["regions_from"]`` says which: ``"label maps"``,
    ``"landmarks"`` or ``"the template"``.

    Without a template such a sample stays without a map, or is skipped where a table of landmarks was given: regions
    are wanted, and it has none.

    Args:
        faces: the samples.
        landmarks: the table that ``faces`` has its landmarks from; ``None`` where those of the metadata are all.
        template: a name of ``TEMPLATES``.
        remarks: sentences for the summary of what was read.
    """

    def __init__(
        self,
        faces: Samples,
        landmarks: LandmarkTable | None = None,
        template: str | None = None,
        remarks: list[str] | None = None,
    ) -> None:
        self.whole = faces
        self.landmarks = landmarks
        self.template = template
        self.remarks = remarks or []

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def sample_ids(self) -> np.ndarray | None:
        """int64 (n,), where the data set knows them without reading."""
        return getattr(self.whole, "sample_ids", None)

    def __getitem__(self, index: int) -> Sample | Skipped:
        sample = self.whole[index]
        if isinstance(sample, Skipped):
            return sample
        if sample.region_map is not None:
            return _with_regions(sample, sample.region_map, "label maps")
        size = (sample.image.shape[0], sample.image.shape[1])
        points = sample.metadata.get("landmarks")
        if points is not None and _match(np.asarray(points), size):
            return _with_regions(sample, landmark_region_map(points, size, hair=True), "landmarks")
        notes = [] if points is None else ["landmarks_do_not_match"]
        if self.template is None and self.landmarks is not None:
            key = str(sample.metadata.get("key", index))
            reason = notes[0] if notes else "no_landmarks"
            return Skipped(key, reason, f"{key}: {REGION_SKIPS[reason]}")
        if notes:
            noted = [*sample.metadata.get("reading_notes", ()), *notes]
            sample = dataclasses.replace(sample, metadata={**sample.metadata, "reading_notes": noted})
        if self.template is None:
            return sample
        return _with_regions(sample, TEMPLATES[self.template].region_map(size[0]), "the template")


def _with_regions(sample: Sample, region_map: np.ndarray, origin: str) -> Sample:
    return dataclasses.replace(sample, region_map=region_map, metadata={**sample.metadata, "regions_from": origin})


def _match(points: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether landmarks can be those of a face in a picture of ``size`` = (H, W)."""
    if len(points) not in SCHEMES or not np.isfinite(points).all():
        return False
    limits = np.array([size[1], size[0]])
    inside = ((points >= 0) & (points <= limits)).all(1).mean()
    return bool(inside >= 0.5 and (np.ptp(points, axis=0) / limits).max() >= SMALLEST)
