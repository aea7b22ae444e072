"""NumPy's whole numbers in place of Python's, as they come out of arrays: the same results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gptface.errors import InputError
from gptface.ops import (
    ImageBlocks,
    ImageRandom,
    TextSpans,
    VectorQuantizer,
    corrupt_tokens,
    mask_tokens,
    masked_attention,
    sample_span_mask,
)

SEED = 3 * 2**40 + 5


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_a_numpy_seed_of_dropout(kind: Any) -> None:
    x = torch.randn(1, 7, 2, 16, generator=torch.Generator().manual_seed(0))
    found, expected = (masked_attention(x, x, x, dropout_p=0.5, seed=seed) for seed in (kind(SEED), SEED))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_numpy_seeds_and_steps_of_span_masks(kind: Any) -> None:
    tokens, spec, ids = torch.full((2, 30), 5), TextSpans(ratio=0.5), np.arange(2)
    results = []
    for number in (int, kind):
        drawn: dict[str, Any] = {"seed": number(SEED), "step": number(7), "sample_ids": ids}
        corruption: dict[str, Any] = {"vocabulary_ranges": [(number(2), number(9))], **drawn}
        mask = sample_span_mask(spec, torch.ones(2, 30, dtype=torch.bool), **drawn)
        results.append(
            [
                mask.mask,
                corrupt_tokens(tokens, mask, mask_id=number(1), **corruption),
                mask_tokens(tokens, spec, [30, 30], mask_id=[number(1)], **corruption).token_ids,
            ]
        )
    assert results[0][0].any() and all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_a_numpy_array_as_grid_is_the_pair_it_holds() -> None:
    assert ImageRandom(grid=np.array([4, 6]), ratio=0.5) == ImageRandom(grid=(4, 6), ratio=0.5)
    assert ImageBlocks(grid=np.array([4, 6]), ratio=0.5) == ImageBlocks(grid=(4, 6), ratio=0.5)


@pytest.mark.parametrize("grid", [3, None, np.array(3), (4,), np.array([[4, 6]])])
def test_a_grid_that_is_no_pair_is_named(grid: Any) -> None:
    with pytest.raises(InputError, match=r"ImageRandom\.grid"):
        ImageRandom(grid=grid, ratio=0.5)


def test_a_numpy_seed_of_a_quantizer() -> None:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    found, expected = (VectorQuantizer(8, 6, seed=seed)(x).quantized for seed in (np.int64(SEED), SEED))
    assert torch.equal(found, expected)
