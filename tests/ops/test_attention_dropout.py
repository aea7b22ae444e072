"""Attention dropout: a Philox function of (seed, b, h, i, j) and of nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention.reference import dropout_keep, dropout_threshold
from gptface.ops.philox import philox4x32
from tests.helpers.numerics import assert_matches_oracle
from tests.ops.attention_cases import GRADIENTS, dense_with_gradients, draw, random_mask, with_gradients

KNOWN_ANSWERS = [  # Random123, kat_vectors
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], answer: tuple[int, int, int, int]
) -> None:
    assert philox4x32(counter, key) == answer
    words = philox4x32(tuple(torch.tensor([w, 1]) for w in counter), tuple(torch.tensor([w, 1]) for w in key))
    assert tuple(int(word[0]) for word in words) == answer
    ones = philox4x32((1, 1, 1, 1), (1, 1))
    assert tuple(int(word[1]) for word in words) == ones


@pytest.mark.parametrize("seed", [0, 12345, 0xDEADBEEF_00000001, 2**63 - 1])
def test_the_definition_word_by_word(seed: int) -> None:
    """The docstring's definition with Python integers; a kernel is held to the same."""
    seed %= 2**63
    batch, heads, queries, keys, p = 2, 3, 5, 11, 0.3
    keep = dropout_keep(torch.tensor(seed), p, batch, heads, queries, keys)
    assert keep.shape == (batch, heads, queries, keys)
    for b, h, i, j in torch.cartesian_prod(*(torch.arange(n) for n in keep.shape)).tolist():
        word = philox4x32((j // 4, i, h, b), (seed & 0xFFFFFFFF, seed >> 32))[j % 4]
        assert bool(keep[b, h, i, j]) == (word >= math.floor(p * 2**32))


def test_threshold() -> None:
    assert dropout_threshold(0.5) == 2**31
    assert dropout_threshold(2**-33) == 0
    assert dropout_threshold(1 - 2**-53) == 2**32 - 1


def test_the_decision_does_not_depend_on_the_sizes() -> None:
    """A tile, a shorter batch or a cut sequence decides as the whole does."""
    seed = torch.tensor(99)
    whole = dropout_keep(seed, 0.5, 3, 4, 17, 23)
    assert torch.equal(dropout_keep(seed, 0.5, 1, 2, 7, 9), whole[:1, :2, :7, :9])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_independence(p: float) -> None:
    keep = dropout_keep(torch.tensor(2024), p, 4, 4, 64, 64).double()
    deviation = math.sqrt(p * (1 - p) / keep.numel())
    assert abs(float(keep.mean()) - (1 - p)) < 5 * deviation
    for dimension in range(4):  # neighbours along every index are uncorrelated
        centred = keep - keep.mean()
        ahead = centred.narrow(dimension, 1, centred.shape[dimension] - 1)
        behind = centred.narrow(dimension, 0, centred.shape[dimension] - 1)
        correlation = float((ahead * behind).mean()) / (p * (1 - p))
        assert abs(correlation) < 5 / math.sqrt(ahead.numel()), dimension
    other = dropout_keep(torch.tensor(2025), p, 4, 4, 64, 64).double()
    correlation = float(((keep - keep.mean()) * (other - other.mean())).mean()) / (p * (1 - p))
    assert abs(correlation) < 5 / math.sqrt(keep.numel()), "seeds"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_and_gradients_against_the_oracle(dtype: torch.dtype) -> None:
    inputs = draw(2, 19, 23, 4, 2, 32, dtype)
    mask = random_mask(2, 19, 23, 2, seed=4)
    p, seed = 0.25, 77
    factor = dropout_keep(torch.tensor(seed), p, 2, 4, 19, 23).double() / (1 - p)
    result = with_gradients(*inputs, mask, dropout_p=p, seed=seed)
    oracle = dense_with_gradients(*inputs, mask, torch.float64, factor=factor)
    same_dtype = dense_with_gradients(*inputs, mask, dtype, factor=factor)
    for name in ("out", *GRADIENTS):
        assert_matches_oracle(name, result[name], same_dtype[name], oracle[name])


def test_seed_as_integer_and_as_tensor() -> None:
    query, key, value, _ = draw(1, 9, 9, 2, 2, 16)

    def run(seed: int | torch.Tensor) -> torch.Tensor:
        return masked_attention(query, key, value, IntervalMask.causal(9), dropout_p=0.5, seed=seed)

    assert torch.equal(run(2**40 + 3), run(torch.tensor(2**40 + 3)))
    assert torch.equal(run(2**40 + 3), run(torch.tensor([2**40 + 3])))
    assert not torch.equal(run(2**40 + 3), run(3)), "the high word counts"
    assert not torch.equal(run(4), run(3))


def test_mean_over_seeds_is_attention_without_dropout() -> None:
    query, key, value, _ = draw(1, 4, 6, 1, 1, 16, torch.float64)
    outs = [masked_attention(query, key, value, dropout_p=0.5, seed=seed) for seed in range(400)]
    stacked = torch.stack(outs)
    error = (stacked.mean(0) - masked_attention(query, key, value)).abs()
    assert (error < 5 * stacked.std(0) / 20).all()


def test_lse_is_that_without_dropout() -> None:
    query, key, value, _ = draw(1, 9, 9, 2, 2, 16)
    mask = IntervalMask.causal(9)
    _, plain = masked_attention(query, key, value, mask, return_lse=True)
    _, dropped = masked_attention(query, key, value, mask, return_lse=True, dropout_p=0.5, seed=1)
    assert torch.equal(plain, dropped)
