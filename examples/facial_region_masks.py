"""Masks of facial regions from five landmarks: whole regions hidden, or everything but the eyes."""

from __future__ import annotations

import numpy as np

from gptface.data.region_masks import face_region_grid, guidance_masks, region_masks
from gptface.ops import sample_span_mask

GRID, SIZE = (12, 12), (96, 96)  # tokens; pixels of the image
LANDMARKS = np.array([[33.0, 40.0], [63.0, 40.0], [48.0, 56.0], [37.0, 70.0], [59.0, 70.0]])  # eyes, nose, mouth


def show(mask: np.ndarray) -> str:
    return "\n".join("".join("#" if hidden else "." for hidden in row) for row in mask.reshape(GRID))


def main() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    regions = face_region_grid(LANDMARKS, GRID, SIZE)  # or a label map (H, W), or 68 or 468 landmarks
    keywords = {"seed": 0, "step": 0, "sample_ids": np.array([7]), "region_map": regions[None]}
    whole = sample_span_mask(region_masks(GRID, 0.3, {"eyes": 2.0, "mouth": 2.0, "nose": 1.0}), **keywords).mask[0]
    guided = sample_span_mask(guidance_masks(GRID, 0.6, keep=("eyes",)), **keywords).mask[0]
    print(f"whole regions, 30 %:\n{show(whole)}\n\nanything but the eyes, 60 % of the rest:\n{show(guided)}")
    return regions, whole, guided


if __name__ == "__main__":
    main()
