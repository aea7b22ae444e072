"""Quantisers without a codebook, finite scalar and lookup-free: their definitions, and the call of the VQ module."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import FiniteScalarQuantizer, LookupFreeQuantizer, QuantizerOutput, VectorQuantizer

EITHER = pytest.mark.parametrize(
    "module", [FiniteScalarQuantizer((8, 5, 3), groups=2), LookupFreeQuantizer(3, groups=2)], ids=["finite", "free"]
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Finite scalar -------------------------------------------------------------------------------------------------------


def _level(value: float, levels: int) -> int:
    """The paper's listing for one number: −⌊L/2⌋ to ⌊(L−1)/2⌋."""
    half = (levels - 1) * (1 + 1e-3) / 2
    offset = 0.5 if levels % 2 == 0 else 0.0
    return round(math.tanh(value + math.atanh(offset / half)) * half - offset)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=4), st.integers(0, 10**6))
def test_finite_scalars_are_the_papers(levels: list[int], seed: int) -> None:
    module = FiniteScalarQuantizer(levels)
    x = draw(20, len(levels), seed=seed).double()
    found = module(x)
    for row, code, index in zip(x.tolist(), found.quantized.tolist(), found.indices.tolist(), strict=True):
        digits = [_level(value, size) for value, size in zip(row, levels, strict=True)]
        assert code == pytest.approx([digit / (size // 2) for digit, size in zip(digits, levels, strict=True)])
        radix = [math.prod(levels[:place]) for place in range(len(levels))]
        assert index == sum((d + s // 2) * b for d, s, b in zip(digits, levels, radix, strict=True))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=3))
def test_every_code_of_a_grid_is_reached_and_found_again(levels: list[int]) -> None:
    module = FiniteScalarQuantizer(levels)
    values = torch.cat((torch.linspace(-4, 4, 401), torch.tensor([-30.0, 30.0])))
    for place, size in enumerate(levels):
        x = torch.zeros(len(values), len(levels))
        x[:, place] = values
        assert len(module(x).quantized[:, place].unique()) == size
    codes = module.lookup(torch.arange(module.codebook_size))
    assert len(codes.unique(dim=0)) == module.codebook_size == math.prod(levels)
    assert codes.min() == -1 and codes.max() <= 1


def test_the_gradient_is_that_of_the_squashed_number() -> None:
    module = FiniteScalarQuantizer((5,))
    x = torch.tensor([[0.3], [-1.0]], dtype=torch.float64, requires_grad=True)
    module(x).quantized.sum().backward()
    expected = (1 - torch.tanh(x.detach()) ** 2) * 2 * (1 + 1e-3) / 2
    torch.testing.assert_close(x.grad, expected)


# Lookup-free ---------------------------------------------------------------------------------------------------------


def test_signs_are_bits() -> None:
    module = LookupFreeQuantizer(4)
    x = torch.tensor([[0.5, -2.0, 1e-9, -0.0], [-1.0, -1.0, -1.0, 3.0]])
    found = module(x)
    assert found.quantized.tolist() == [[1, -1, 1, -1], [-1, -1, -1, 1]] and found.indices.tolist() == [5, 8]
    assert len(module.lookup(torch.arange(16)).unique(dim=0)) == 16


def _entropies(rows: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """E[H(p)] and H(E[p]) of rows ``(N, d)`` over all codes, written out."""
    codes = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=rows.shape[1])), dtype=rows.dtype)
    p = (-torch.cdist(rows, codes).square() / temperature).softmax(-1)
    return torch.special.entr(p).sum(-1).mean(), torch.special.entr(p.mean(0)).sum()


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_the_entropy_loss_is_the_one_written_out(temperature: float) -> None:
    x = draw(40, 5).double().requires_grad_(True)
    options: dict[str, Any] = {"commitment_weight": 0.0, "entropy_weight": 1.0, "entropy_temperature": temperature}
    loss = LookupFreeQuantizer(5, entropy_diversity=0.7, **options)(x).loss
    confident, spread = _entropies(x, temperature)
    torch.testing.assert_close(loss, confident - 0.7 * spread)
    ours, theirs = (torch.autograd.grad(value, x)[0] for value in (loss, confident - 0.7 * spread))
    torch.testing.assert_close(ours, theirs)


def test_many_bits_are_entered_in_parts() -> None:
    x = draw(40, 5).double()
    options: dict[str, Any] = {"commitment_weight": 0.0, "entropy_weight": 1.0}
    parts = [torch.stack(_entropies(part, 1.0)) for part in (x[:, :3], x[:, 3:])]
    confident, spread = torch.stack(parts).sum(0)
    torch.testing.assert_close(LookupFreeQuantizer(5, entropy_bits=3, **options)(x).loss, confident - spread)
    torch.testing.assert_close(confident, _entropies(x, 1.0)[0])
    assert spread > _entropies(x, 1.0)[1]


# Both ----------------------------------------------------------------------------------------------------------------


@EITHER
def test_they_are_called_like_the_vector_quantizer(module: Any) -> None:
    x, mask = draw(4, 7, 6), draw(4, 7) > 0
    found = module(x, mask, update=True)
    like = VectorQuantizer(6, 16, groups=2)(x, mask)
    assert isinstance(found, QuantizerOutput)
    for ours, theirs in zip(found, like, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert torch.equal(module.lookup(found.indices), found.quantized)
    assert not module.state_dict() and module.dim == 6


@EITHER
def test_what_is_masked_or_not_finite_counts_nowhere(module: Any) -> None:
    x = draw(6, 6)
    whole = module(x[:4])
    x[4] = torch.inf
    x[5] = torch.nan
    masked = module(x, torch.tensor([True] * 4 + [True, False]))
    for name in ("loss", "perplexity", "usage"):
        torch.testing.assert_close(getattr(masked, name), getattr(whole, name))
    assert bool(((masked.indices >= 0) & (masked.indices < module.codebook_size)).all())


@EITHER
def test_a_row_that_is_not_finite_sends_no_nan_back(module: Any) -> None:
    x = draw(3, 6)
    x[0, 2] = torch.nan
    x.requires_grad_(True)
    found = module(x, torch.tensor([False, True, True]))
    ((found.quantized[1:] ** 2).sum() + found.loss).backward()
    assert x.grad is not None and not x.grad[0].any() and bool(x.grad.isfinite().all())


@EITHER
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_outputs_keep_the_dtype(module: Any, dtype: torch.dtype) -> None:
    x = draw(9, 6).to(dtype).requires_grad_(True)
    found = module(x)
    assert found.quantized.dtype == dtype and torch.equal(module(x.float()).indices, found.indices)
    assert found.loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    (found.quantized.sum() + found.loss).backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


@EITHER
def test_nothing_is_lost_in_an_empty_batch(module: Any) -> None:
    found = module(torch.zeros(0, 6))
    assert found.quantized.shape == (0, 6) and found.indices.shape == (0, 2)
    assert float(found.loss) == 0 and float(found.usage) == 0 and float(found.perplexity) == 1


@EITHER
def test_they_compile_whole(module: Any) -> None:
    torch._dynamo.reset()
    x = draw(9, 6)
    found, expected = torch.compile(module, fullgraph=True, backend="eager")(x), module(x)
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FiniteScalarQuantizer(()), "levels"),
        (lambda: FiniteScalarQuantizer((8, 1)), "each from 2 to 512"),
        (lambda: FiniteScalarQuantizer((8, 2.5)), "one integer or more"),  # type: ignore[arg-type]
        (lambda: FiniteScalarQuantizer((512, 512, 512)), "take groups"),
        (lambda: FiniteScalarQuantizer((8,), groups=0), "groups=0"),
        (lambda: FiniteScalarQuantizer((8,), groups=1.5), "groups=1.5"),  # type: ignore[arg-type]
        (lambda: FiniteScalarQuantizer((8, 5)).lookup(torch.tensor([40])), "indices from 40 to 40; allowed: 0 to 39"),
        (lambda: LookupFreeQuantizer(3).lookup(torch.tensor([-1])), "indices from -1 to -1; allowed: 0 to 7"),
        (lambda: LookupFreeQuantizer(0), "bits=0; allowed: 1 to 24"),
        (lambda: LookupFreeQuantizer(4, entropy_bits=20), "entropy_bits=20"),
        (lambda: LookupFreeQuantizer(4, entropy_temperature=0.0), "^LookupFreeQuantizer: entropy_temperature"),
        (lambda: LookupFreeQuantizer(4)(torch.zeros(2, 5)), "dim=4"),
        (lambda: LookupFreeQuantizer(4)(torch.zeros(2, 4, dtype=torch.int64)), "floating point"),
        (lambda: LookupFreeQuantizer(4)(torch.zeros(2, 4), torch.ones(3, dtype=torch.bool)), "mask is"),
        (lambda: LookupFreeQuantizer(4, groups=2).lookup(torch.zeros(3, dtype=torch.int64)), "groups=2"),
        (lambda: LookupFreeQuantizer(4).lookup(torch.zeros(3)), "must be integer"),
    ],
)
def test_bad_input_is_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()
