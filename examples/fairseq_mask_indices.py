"""fairseq's compute_mask_indices replaced, as wav2vec 2.0 calls it: the import changes, the call stays."""

from __future__ import annotations

import numpy as np

from gptface.integrations.fairseq import compute_mask_indices


def main() -> np.ndarray:
    frames = np.array([300, 250, 120, 0])
    padding = np.arange(300) >= frames[:, None]
    identity = {"seed": 1, "epoch": 0, "indices": [7, 8, 9, 3]}
    mask = compute_mask_indices((4, 300), padding, 0.5, mask_length=10, require_same_masks=False, **identity)
    for row, length in zip(mask, frames, strict=True):
        print(f"{length:4d} frames, {row.sum():4d} masked")
    return mask


if __name__ == "__main__":
    main()
