"""Canonical faces: where regions are in an aligned picture of which nothing else is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gptface.faces.regions import REGIONS

__all__ = ["TEMPLATES", "FaceTemplate"]


@dataclass(frozen=True)
class FaceTemplate:
    """A canonical face, for aligned pictures of which nothing else is known.

    All lengths are fractions of the picture's side; every shape follows from the eyes and the mouth.

    Attributes:
        eye_y: height of the eyes.
        mouth_y: height of the mouth.
        eye_distance: between the centres of the eyes.
        centre_x: of the face.
    """

    eye_y: float = 0.47
    mouth_y: float = 0.735
    eye_distance: float = 0.25
    centre_x: float = 0.5

    def region_map(self, size: int) -> np.ndarray:
        """uint8 ``(size, size)`` labels, indices into ``REGIONS``."""
        grid = (np.arange(size) + 0.5) / size
        # Units: the distance of the eyes across, the distance from eyes to mouth downwards, 0 between the eyes.
        x = ((grid - self.centre_x) / self.eye_distance)[None, :]
        y = ((grid - self.eye_y) / (self.mouth_y - self.eye_y))[:, None]
        label = {name: index for index, name in enumerate(REGIONS)}
        regions = np.zeros((size, size), dtype=np.uint8)

        def ellipse(centre_x: float, centre_y: float, half_width: float, half_height: float) -> np.ndarray:
            return ((x - centre_x) / half_width) ** 2 + ((y - centre_y) / half_height) ** 2 <= 1

        regions[ellipse(0, 3.1, 3.0, 1.3)] = label["clothes"]
        regions[(np.abs(x) < 0.75) & (y > 1.0) & (y < 2.3)] = label["neck"]
        regions[ellipse(0, -0.35, 1.5, 1.6)] = label["hair"]
        for side in (-1, 1):
            regions[ellipse(side * 1.2, 0.15, 0.14, 0.36)] = label["ears"]
        regions[ellipse(0, 0.26, 1.2, 1.27)] = label["skin"]
        regions[ellipse(0, 0.42, 0.26, 0.3) | ((np.abs(x) < 0.12) & (y > -0.05) & (y < 0.5))] = label["nose"]
        for side in (-1, 1):
            regions[ellipse(side * 0.5, -0.32, 0.38, 0.14)] = label["brows"]
            regions[ellipse(side * 0.5, 0.0, 0.32, 0.19)] = label["eyes"]
        regions[ellipse(0, 1.0, 0.46, 0.23)] = label["mouth"]
        return regions


# "portrait": head and hair in the picture, as the procedural faces and FFHQ-like crops show it;
# "tight": the face fills the picture from ear to ear, as detectors crop it.
TEMPLATES: dict[str, FaceTemplate] = {
    "portrait": FaceTemplate(),
    "tight": FaceTemplate(eye_y=0.375, mouth_y=0.785, eye_distance=0.32),
}
