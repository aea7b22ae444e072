"""A NaN or an infinity stays with the rows that see it: the second passes of the attention kernels, interpreted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gptface.kernels.attention_configurations import KERNELS, Configuration, forced
from tests.ops.attention_cases import GRADIENTS, draw, random_mask, with_gradients
from tests.ops.attention_containment import (
    KINDS,
    assert_contained,
    assert_padding_may_hold_anything,
    containment_case,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of arithmetic with NaN


@pytest.fixture(autouse=True)
def small_tiles() -> Iterator[None]:
    """So that few rows make several tiles, and tiles hold rows that see a bad number beside rows that do not."""
    with forced(dict.fromkeys(KERNELS, Configuration(16, 16, 4, 1))):
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_number_stays_with_what_sees_it(kind: str) -> None:
    bad = float("inf") if kind == "documents" else float("nan")
    dtype = torch.bfloat16 if kind in ("random", "documents") else torch.float32
    mask, rows = containment_case(kind, 23)
    assert_contained(draw(1, mask.num_queries, mask.num_keys, 2, 2, 16, dtype), mask, rows, bad, impl="triton")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_padding_may_hold_anything(dtype: torch.dtype) -> None:
    assert_padding_may_hold_anything("cpu", [0, 19, 21], 21, dtype, 24, impl="triton")


def test_a_bad_number_of_a_group_of_heads_under_dropout() -> None:
    """Grouped heads share a tile and its keys; what dropout drops is seen all the same."""
    query, key, value, grad = draw(1, 21, 37, 4, 2, 16, torch.bfloat16)
    mask = random_mask(1, 21, 37, 1, seed=5)
    bad = int(mask.intervals[0, :, 0, 0].max())
    changed = value.clone()
    changed[0, bad, 0] = float("nan")
    sees = mask.to_dense()[0, :, bad]
    assert sees.any() and not sees.all()
    clean = with_gradients(query, key, value, grad, mask, impl="triton", dropout_p=0.2, seed=3)
    got = with_gradients(query, key, changed, grad, mask, impl="triton", dropout_p=0.2, seed=3)
    for name in ("out", "grad_query"):
        assert torch.equal(got[name][0, ~sees], clean[name][0, ~sees]), name
        assert torch.equal(got[name][0, :, 2:], clean[name][0, :, 2:]), name
    assert torch.equal(got["grad_value"], clean["grad_value"])
    assert got["out"][0, sees, :2].isnan().all()


def test_what_is_seen_is_not_swallowed() -> None:
    """Bad numbers are left out of products and added afterwards: as plain arithmetic would, element for element."""
    query, key, value, grad = draw(1, 21, 37, 1, 1, 16)
    mask = random_mask(1, 21, 37, 1, seed=5)
    seen = mask.to_dense()[0]
    order = seen.sum(0).argsort(descending=True)
    value[0, order[0], 0, 1], value[0, order[0], 0, 2] = float("inf"), -float("inf")
    value[0, order[1], 0, 1], value[0, order[2], 0, 3] = -float("inf"), float("nan")
    out = with_gradients(query, key, value, grad, mask, impl="triton")["out"][0, :, 0]
    first, second, third = (seen[:, order[i]] for i in range(3))
    assert (first & second).any()
    assert out[first & second, 1].isnan().all()
    assert (out[first & ~second, 1] == float("inf")).all() and (out[second & ~first, 1] == -float("inf")).all()
    assert (out[first, 2] == -float("inf")).all() and out[third, 3].isnan().all()
    assert out[~third, 3].isfinite().all() and out[:, 4:].isfinite().all()


def test_a_bad_gradient_reaches_the_values_that_its_row_sees() -> None:
    query, key, value, grad = draw(1, 21, 37, 1, 1, 16)
    mask = random_mask(1, 21, 37, 2, seed=5)
    row = int(mask.to_dense()[0].any(-1).nonzero()[4])
    sees = mask.to_dense()[0, row]
    clean = with_gradients(query, key, value, grad, mask, impl="triton")
    grad[0, row, 0, 5] = float("nan")
    got = with_gradients(query, key, value, grad, mask, impl="triton")
    assert got["grad_value"][0, sees, 0, 5].isnan().all() and got["grad_key"][0, sees, 0].isnan().all()
    others = [column for column in range(16) if column != 5]
    assert torch.equal(got["grad_value"][..., others], clean["grad_value"][..., others])
    for name in GRADIENTS[1:]:
        assert torch.equal(got[name][0, ~sees], clean[name][0, ~sees]), name
