"""The formulas that the rounding evidence compares are the same function and gradients; its measurements run."""

from __future__ import annotations

import itertools

import pytest
import torch

from benchmarks.attention_rounding_evidence import CHANGES, measure_formulas, measure_kernels
from gptface.diagnosis.attention_formulas import evaluate
from gptface.ops.native import cpu_kernel_missing
from tests.ops.attention_cases import dense_with_gradients, draw, random_mask

ORDERS = [("torch", False), *itertools.product(("first to last", "last to first"), (False, True))]


@pytest.mark.parametrize("weights_from", ["softmax", "lse"])
@pytest.mark.parametrize("delta_from", ["weights", "out"])
@pytest.mark.parametrize(("order", "fused"), ORDERS)
@pytest.mark.parametrize("dropout", [False, True])
def test_every_formula_is_the_function_and_its_gradients(
    weights_from: str, delta_from: str, order: str, fused: bool, dropout: bool
) -> None:
    inputs, mask = draw(2, 9, 13, 4, 2, 16, torch.float64), random_mask(2, 9, 13, 2, seed=1)
    factor = None
    if dropout:
        factor = (torch.rand(2, 4, 9, 13, generator=torch.Generator().manual_seed(0)) < 0.7).double() / 0.7
    expected = dense_with_gradients(*inputs, mask, torch.float64, factor=factor)
    options = {"order": order, "fused": fused, "weights_from": weights_from, "delta_from": delta_from}
    for rounded in ("nearest", "up", "down"):
        found = evaluate(*inputs, mask.to_dense(), 0.25, factor, rounded=rounded, **options)  # type: ignore[arg-type]
        for name, want in expected.items():
            torch.testing.assert_close(found[name], want, rtol=1e-12, atol=1e-12)


def test_a_change_of_the_formula_costs_digits() -> None:
    ratios = measure_formulas(2)
    assert list(ratios) == list(CHANGES)
    assert set(next(iter(ratios.values())).values()) == {(1.0, 1.0)}
    median, largest = ratios["the same, first term to last, lse rounded up"]["grad_query"]
    assert 1.0 < median <= largest


@pytest.mark.skipif(cpu_kernel_missing("masked_attention") is not None, reason="no native kernel")
def test_kernels_keep_to_the_yardstick() -> None:
    found = measure_kernels(6, ["portable"])
    assert set(found["portable", "yardstick"]) == {"out", "grad_query", "grad_key", "grad_value"}
    assert all(times == 0 and largest <= 2.0 for times, largest in found["portable", "yardstick"].values())
