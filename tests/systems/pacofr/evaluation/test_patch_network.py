"""Maps from tokens to patches: the linear one is least squares, the network finds what it misses."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptface.systems.pacofr.evaluation.patch_network import fit_patch_network
from gptface.systems.pacofr.leak import linear_decoder, linear_leak


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 9), st.integers(1, 12), st.integers(30, 90), st.floats(-50, 50), st.integers(0, 1000))
def test_the_linear_decoder_is_least_squares_and_explains_what_the_leak_says(
    width: int, pixels: int, rows: int, offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(rows, width, generator=generator) + offset
    targets = tokens.tanh() @ torch.randn(width, pixels, generator=generator)
    targets = targets + torch.randn(rows, pixels, generator=generator)
    ones = torch.cat([tokens, torch.ones(rows, 1)], 1).double()
    truth = ones @ torch.linalg.lstsq(ones, targets.double()).solution
    found = linear_decoder(tokens, targets)(tokens)
    torch.testing.assert_close(found.double(), truth, atol=2e-3, rtol=0)
    unexplained = (found - targets).square().sum() / (targets - targets.mean(0)).square().sum()
    adjusted = (1 - unexplained * (rows - 1) / (rows - width - 1)).clamp(0, 1)
    torch.testing.assert_close(linear_leak(tokens, targets), adjusted, atol=1e-3, rtol=0)


def test_one_token_for_all_says_the_mean_patch() -> None:
    targets = torch.randn(50, 6)
    decoder = linear_decoder(torch.full((50, 4), 3.0), targets)
    torch.testing.assert_close(decoder(torch.full((2, 4), 3.0)), targets.mean(0).expand(2, -1))


def test_the_network_finds_what_is_not_linear_and_invents_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(6000, 4, generator=generator)
    targets = torch.cat([tokens.abs(), tokens], 1)
    known, new = slice(0, 4000), slice(4000, None)

    def error(given: torch.Tensor, wanted: torch.Tensor) -> float:
        network = fit_patch_network(given[known], wanted[known], 0)
        with torch.inference_mode():
            return float((network(given[new]) - wanted[new]).square().mean() / wanted[new].var(0).mean())

    linear = linear_decoder(tokens[known], targets[known])(tokens[new])
    assert float((linear - targets[new]).square().mean()) / float(targets[new].var(0).mean()) > 0.2
    assert error(tokens, targets) < 0.05
    assert 0.97 < error(torch.randn(6000, 4, generator=generator), targets) < 1.1


def test_the_same_seed_gives_the_same_network_and_leaves_the_generator_alone() -> None:
    tokens, targets = torch.randn(300, 4), torch.randn(300, 6)
    state = torch.get_rng_state()
    first, second = (fit_patch_network(tokens, targets, 5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    with torch.inference_mode():
        assert torch.equal(first(tokens), second(tokens))
