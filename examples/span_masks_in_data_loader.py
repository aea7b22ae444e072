"""Span masks drawn in the workers of a DataLoader, on NumPy arrays, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from gptface.ops import ImageBlocks, Multimodal, TextSpans, mask_tokens

TEXT, GRID = 12, (4, 4)
WORDS, CODES = (5, 100), (100, 164)  # ids of words and of image codes
SPEC = Multimodal(text=TextSpans(0.25), image=ImageBlocks(GRID, 0.5))
# [CLS], the caption, [SEP], the image: special tokens (0) are never masked.
MODALITY = np.array([[0] + [1] * TEXT + [0] + [2] * (GRID[0] * GRID[1])], np.int8)


class Pairs(Dataset[dict[str, Any]]):
    """Captions and image codes; every sample is masked where it is read."""

    def __init__(self, epoch: int = 0) -> None:
        rng = np.random.default_rng(0)
        text = rng.integers(*WORDS, (32, TEXT))
        codes = rng.integers(*CODES, (32, GRID[0] * GRID[1]))
        cls, sep = np.full((32, 1), 1), np.full((32, 1), 2)
        self.tokens = np.concatenate([cls, text, sep, codes], 1)
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Any]:
        tokens = self.tokens[index : index + 1]  # a view: what comes back are NumPy arrays over the kernel's own memory
        hidden, masked = mask_tokens(
            tokens,
            SPEC,
            MODALITY,
            mask_id=(3, 4),
            vocabulary_ranges=[WORDS, CODES],
            seed=0,
            step=self.epoch,
            sample_ids=np.array([index]),  # the mask belongs to the sample, whichever worker draws it
        )
        return {"input": hidden[0], "labels": np.where(masked.mask, tokens, -100)[0]}


def main(workers: int = 2) -> list[np.ndarray]:
    loader = DataLoader(Pairs(), batch_size=8, num_workers=workers)
    batches = [batch["input"].numpy() for batch in loader]
    print(batches[0][0])
    return batches


if __name__ == "__main__":
    main()
