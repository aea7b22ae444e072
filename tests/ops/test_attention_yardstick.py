"""The tolerance of float32 attention passes its own formulas and nothing coarser: a rule that cannot fail is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptface.diagnosis.attention_formulas import evaluate
from tests.ops.attention_cases import assert_kernel_matches_oracle, draw, random_mask

INPUTS, MASK = draw(2, 83, 211, 4, 2, 40), random_mask(2, 83, 211, 1, seed=0)
REAL_EXP, REAL_LOG = torch.exp, torch.log


def evaluated(query: Tensor | None = None) -> dict[str, Tensor]:
    """As a kernel would: one term after the other, fused."""
    inputs = (INPUTS[0] if query is None else query, *INPUTS[1:])
    return evaluate(*inputs, MASK.to_dense(), 40**-0.5, order="first to last", fused=True)


def relative(size: float, tensor: Tensor) -> Tensor:
    """One plus an error of this size, of a sign that changes with the argument as that of a polynomial does."""
    return 1 + size * torch.sin(50 * tensor.clamp_min(-100))


def test_the_formulas_themselves_pass() -> None:
    assert_kernel_matches_oracle("formulas", evaluated(), INPUTS, MASK)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("exp", lambda x: REAL_EXP(x) * relative(4e-6, x)),  # a polynomial of one degree less
        ("exp", lambda x: REAL_EXP(x).bfloat16().float()),
        ("log", lambda x: REAL_LOG(x) + 2e-6),
    ],
    ids=["exponential of degree four", "weights in bfloat16", "log-sum-exp off by four roundings"],
)
def test_coarser_arithmetic_does_not(name: str, function: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch, name, function)
        coarse = evaluated()
    with pytest.raises(AssertionError, match="largest error"):
        assert_kernel_matches_oracle("coarse", coarse, INPUTS, MASK)


def test_operands_of_ten_bits_do_not() -> None:
    cut = (INPUTS[0].view(torch.int32) & ~0x1FFF).view(torch.float32)
    with pytest.raises(AssertionError, match="largest error"):
        assert_kernel_matches_oracle("tf32", evaluated(cut), INPUTS, MASK)


def test_a_row_that_one_interval_too_many_reaches_does_not() -> None:
    wrong = MASK.to_dense().clone()
    row = int(wrong[0].any(-1).nonzero()[3])
    wrong[0, row] = True
    with pytest.raises(AssertionError, match="largest error"):
        assert_kernel_matches_oracle("mask", evaluate(*INPUTS, wrong, 40**-0.5), INPUTS, MASK)
