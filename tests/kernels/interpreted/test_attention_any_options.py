"""Attention kernels on random problems over all options together, against the float64 definition.

Other files turn one option at a time; here a problem takes any dtype, scale, strides, groups, sizes, mask, dropout,
log-sum-exp and tiles with any other. Every run draws its own problems and prints the seed of each that fails:
``GPTFACE_TEST_SEED=<seed> TRITON_INTERPRET=1 pytest tests/kernels/interpreted/test_attention_any_options.py`` repeats a
run, and ``problem(seed)`` the one.
"""

from __future__ import annotations

import os
import random
import secrets
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from gptface.kernels.attention_configurations import KERNELS, Configuration, forced
from gptface.ops import IntervalMask, masked_attention
from gptface.ops.attention.reference import attention_backward, attention_forward, dropout_keep
from tests.ops.attention_cases import random_mask

SEED = int(os.environ.get("GPTFACE_TEST_SEED", secrets.randbelow(10**9)))
RUNS, PROBLEMS_A_RUN = 8, 25
UNIT = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # half a step at 1
NAMES = ("out", "lse", "grad_query", "grad_key", "grad_value")


class Problem(NamedTuple):
    query: Tensor
    key: Tensor
    value: Tensor
    grad_out: Tensor
    grad_lse: Tensor | None
    mask: IntervalMask | None
    scale: float
    dropout_p: float
    tiles: tuple[int, int]

    def __str__(self) -> str:
        shapes = [f"{tuple(tensor.shape)} {tensor.stride()}" for tensor in self[:4]]
        mask = None if self.mask is None else tuple(self.mask.intervals.shape)
        return f"{self.query.dtype} {shapes} {mask=} lse={self.grad_lse is not None} {self[6:]}"


def laid_out(numbers: Tensor, layout: str) -> Tensor:
    """``numbers (B, S, H, D)`` as they may lie in memory."""
    if layout == "heads before rows":
        return numbers.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "one of three":
        return torch.stack([numbers] * 3, 2)[:, :, 1]
    if layout == "odd rows":
        return torch.cat([numbers, numbers[..., :1]], -1)[..., :-1]
    if layout == "one sample for all":
        return numbers[:1].expand(numbers.shape)
    return numbers.mT.contiguous().mT if layout == "depth last" else numbers


def problem(seed: int) -> Problem:
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    # The interpreter's time goes by programs and their tiles: few of them, but more than one of each now and then.
    (batch, key_heads), group = draw.choice(((1, 1), (1, 1), (1, 1), (1, 2), (2, 1))), draw.choice((1, 1, 2, 4))
    queries, keys = draw.choice((1, 2, 5, 9)), draw.choice((0, 1, 5, 12, 17, 33))
    width = draw.choice((16, 24, 32))
    dtype = draw.choice(tuple(UNIT))

    def numbers(rows: int, heads: int, offset: float = 0.0) -> Tensor:
        drawn = torch.randn(batch, rows, heads, width, generator=generator, dtype=torch.float64) + offset
        layouts = ("plain", "heads before rows", "one of three", "odd rows", "one sample for all", "depth last")
        return laid_out(drawn.to(dtype), draw.choice(layouts))

    offset = draw.choice((0.0, 0.0, 3.0))
    query, grad_out = (numbers(queries, key_heads * group) for _ in range(2))
    key, value = (numbers(keys, key_heads, offset) for _ in range(2))
    masks = {
        "none": lambda: None,
        "full": lambda: IntervalMask.full(queries, keys),
        "causal": lambda: IntervalMask.causal(queries, keys),
        "one interval": lambda: random_mask(draw.choice((1, batch)), queries, keys, 1, seed),
        "two intervals": lambda: random_mask(draw.choice((1, batch)), queries, keys, 2, seed),
    }
    grad_lse = torch.randn(batch, key_heads * group, queries, generator=generator) if draw.random() < 0.5 else None
    scale = draw.choice((-1.0, 1.0)) * draw.choice((0.0, 0.1, width**-0.5, 0.7))
    tiles = draw.choice(((16, 16), (32, 16), (16, 32), (32, 64), (64, 32)))
    mask = masks[draw.choice(tuple(masks))]()
    return Problem(query, key, value, grad_out, grad_lse, mask, scale, draw.choice((0.0, 0.0, 0.3)), tiles)


def results(p: Problem, seed: int) -> dict[str, Tensor]:
    """What the kernels make of it."""
    leaves = [tensor.detach().requires_grad_() for tensor in (p.query, p.key, p.value)]
    options = {"dropout_p": p.dropout_p, "seed": seed, "scale": p.scale, "impl": "triton"}
    with forced(dict.fromkeys(KERNELS, Configuration(*p.tiles, 4, 1))):
        if p.grad_lse is None:
            out = masked_attention(*leaves, p.mask, **options)  # type: ignore[call-overload]
            return dict(
                zip(("out", *NAMES[2:]), (out.detach(), *torch.autograd.grad(out, leaves, p.grad_out)), strict=True)
            )
        out, lse = masked_attention(*leaves, p.mask, return_lse=True, **options)  # type: ignore[call-overload]
        gradients = torch.autograd.grad((out, lse), leaves, (p.grad_out, p.grad_lse))
    return dict(zip(NAMES, (out.detach(), lse.detach(), *gradients), strict=True))


def oracle(p: Problem, seed: int) -> dict[str, Tensor]:
    query, key, value, grad_out = (tensor.double() for tensor in (p.query, p.key, p.value, p.grad_out))
    common = (None if p.mask is None else p.mask.intervals, torch.tensor(seed), p.scale, p.dropout_p)
    out, lse = attention_forward(query, key, value, *common)
    grad_lse = None if p.grad_lse is None else p.grad_lse.double()
    gradients = attention_backward(grad_out, grad_lse, query, key, value, out, lse, *common)
    return dict(zip(NAMES, (out, lse, *gradients), strict=True))


def bounds(p: Problem, seed: int) -> dict[str, Tensor]:
    """How far rounding may carry each number: the sums behind it with every term positive, times a few units.

    Weights are rounded, out and every gradient are, and so is ``sum(dO · O)`` through out; scores are sums of D
    products in float32, whose error all weights of a row multiply.
    """
    group = p.query.shape[2] // p.key.shape[2]
    q, k, v, g = (tensor.double().abs().transpose(1, 2) for tensor in (p.query, p.key, p.value, p.grad_out))
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    signed = p.query.double().transpose(1, 2) @ p.key.double().transpose(1, 2).repeat_interleave(group, 1).mT * p.scale
    if p.mask is not None:
        signed = signed.masked_fill(~p.mask.to_dense().unsqueeze(1), -torch.inf)
    weights = torch.softmax(signed, -1).nan_to_num(0.0)
    keep = torch.ones_like(weights)
    if p.dropout_p:
        batch, heads, queries, keys = weights.shape
        keep = dropout_keep(torch.tensor(seed), p.dropout_p, batch, heads, queries, keys).double() / (1 - p.dropout_p)
    products = q @ k.mT * abs(p.scale)
    reach = products.amax(-1, keepdim=True) if products.shape[-1] else products.sum(-1, keepdim=True)
    few = 4 * UNIT[p.query.dtype] + 8 * UNIT[torch.float32] * (1 + reach)  # (B, H, Sq, 1)
    out = (weights * keep) @ v
    centre = (g * out).sum(-1, keepdim=True)
    if p.grad_lse is not None:
        centre = centre + p.grad_lse.double().abs().unsqueeze(-1)
    grad_scores = weights * (keep * (g @ v.mT) + centre) * few * 2

    def by_key_head(tensor: Tensor) -> Tensor:
        return tensor.unflatten(1, (-1, group)).sum(2).transpose(1, 2)

    return {
        "out": (out * few).transpose(1, 2),
        "lse": (few - 4 * UNIT[p.query.dtype]).squeeze(-1) * 2,
        "grad_query": (grad_scores @ k).transpose(1, 2) * abs(p.scale),
        "grad_key": by_key_head(grad_scores.mT @ q) * abs(p.scale),
        "grad_value": by_key_head((weights * keep * few).mT @ g),
    }


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("run", range(RUNS))
def test_any_options_together(run: int) -> None:
    worst = dict.fromkeys(NAMES, 0.0)
    for seed in range(SEED + run * PROBLEMS_A_RUN, SEED + (run + 1) * PROBLEMS_A_RUN):
        p = problem(seed)
        got, want, allowed = results(p, seed), oracle(p, seed), bounds(p, seed)
        for name, result in got.items():
            label = f"{name}, problem({seed}): {p}"
            assert result.shape == want[name].shape and not result.isnan().any(), label
            finite = want[name].isfinite()
            assert torch.equal(result.isfinite(), finite), label
            error = torch.where(finite, result.double() - want[name], 0.0).abs()
            # What underflows: the smallest normal number of float16.
            excess = error / (allowed[name] + (2.0**-14 if result.dtype == torch.float16 else 1e-30))
            worst[name] = max(worst[name], float(excess.max()) if excess.numel() else 0.0)
            assert (excess <= 1).all(), f"{float(excess.max()):.3g} of what rounding explains, {label}"
    print(f"seeds {SEED + run * PROBLEMS_A_RUN} and {PROBLEMS_A_RUN - 1} more: worst shares of the bounds", worst)
