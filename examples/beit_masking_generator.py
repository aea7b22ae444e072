"""BEiT's or DINOv2's MaskingGenerator replaced: the import changes, the call stays."""

from __future__ import annotations

import random

import numpy as np

from gptface.integrations.beit import MaskingGenerator


def main(images: int = 200) -> np.ndarray:
    random.seed(0)
    generator = MaskingGenerator(input_size=(14, 14), num_masking_patches=75, min_num_patches=16)
    masks = np.stack([generator() for _ in range(images)])
    print(generator)
    print("masked patches of an image:", sorted(set(masks.sum((1, 2)).tolist())))
    print(f"corner masked in {masks[:, 0, 0].mean():.0%}, centre in {masks[:, 7, 7].mean():.0%} of {images} images")
    return masks


if __name__ == "__main__":
    main()
