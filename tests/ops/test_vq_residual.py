"""``ResidualVectorQuantizer``: quantizers in a row, against the same quantizers called by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import ResidualVectorQuantizer


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(stages: int = 3, **options: Any) -> ResidualVectorQuantizer:
    torch.manual_seed(0)
    return ResidualVectorQuantizer(8, 16, stages, **options)


@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"codebook_update": "gradient", "decay": 0.5}], ids=str)
def test_it_is_its_stages_one_after_another(options: dict[str, Any]) -> None:
    module = build(**options)
    byhand = copy.deepcopy(module.stages)
    for step in range(10):
        x, mask = draw(4, 15, 8, seed=step), draw(4, 15, seed=100 + step) > -1
        found = module(x, mask)
        residual, total, losses = x, torch.zeros_like(x), []
        for index, stage in enumerate(byhand):
            output = stage(residual, mask)
            assert torch.equal(found.indices[..., index], output.indices)
            assert torch.equal(found.perplexity[index], output.perplexity)
            assert torch.equal(found.usage[index], output.usage)
            residual, total = residual - output.quantized, total + output.quantized
            losses.append(output.loss)
        assert torch.equal(found.quantized, total)
        torch.testing.assert_close(found.loss, sum(losses))
    for name, value in byhand.state_dict().items():
        assert torch.equal(value, module.state_dict()[f"stages.{name}"]), name


def test_every_stage_brings_the_sum_nearer() -> None:
    module = build(4)
    x = draw(600, 8, seed=1)
    for _ in range(20):
        module(x)
    module.eval()
    indices = module(x).indices
    assert indices.shape == (600, 4)
    errors = [float((module.lookup(indices[:, :stage]) - x).square().mean()) for stage in range(1, 5)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.3 * errors[0]
    assert torch.equal(module.lookup(indices), module(x).quantized)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_the_gradient_of_the_sum_reaches_x_once(estimator: str) -> None:
    module = build(estimator=estimator).eval()
    x = draw(20, 8, seed=2).requires_grad_()
    found, given = module(x), draw(20, 8, seed=3)
    (gradient,) = torch.autograd.grad(found.quantized, x, given, retain_graph=True)
    if estimator == "straight_through":
        assert torch.equal(gradient, given)
    else:
        torch.testing.assert_close(
            gradient.norm(dim=-1) * x.detach().norm(dim=-1), given.norm(dim=-1) * found.quantized.norm(dim=-1)
        )
    # The commitment draws x toward the sum of the codes so far, at every stage.
    (drawn,) = torch.autograd.grad(found.loss, x)
    partial = [module.lookup(found.indices[..., :stage]) for stage in (1, 2, 3)]
    torch.testing.assert_close(drawn, sum(0.25 * 2 * (x - code) / x.numel() for code in partial).detach())


def test_half_precision_and_no_rows() -> None:
    module = build()
    x = draw(40, 8, seed=4).bfloat16()
    found = module(x)
    assert found.quantized.dtype == torch.bfloat16 and found.loss.dtype == torch.float32
    assert torch.equal(module(x, update=False).quantized, module.lookup(module(x, update=False).indices).bfloat16())
    assert build()(torch.empty(0, 8)).indices.shape == (0, 3)


def test_training_compiles_whole() -> None:
    torch._dynamo.reset()
    eager, compiled = build(2, revive_below=0.3, decay=0.8), build(2, revive_below=0.3, decay=0.8)
    step = torch.compile(compiled, fullgraph=True, dynamic=True, backend="aot_eager")
    for number in (48, 31):
        x = draw(number, 8, seed=number)
        assert torch.equal(eager(x).indices, step(x).indices)


@pytest.mark.parametrize(
    ("stages", "options", "named"),
    [
        (0, {}, "stages=0"),
        (2, {"metric": "cosine"}, "metric='cosine'"),
        (2, {"topk": 2}, "topk=2"),
        (2, {"estimator": "gumbel"}, "estimator='gumbel'"),
        (2, {"decay": 1.5}, "decay=1.5"),
    ],
)
def test_bad_options_are_named(stages: int, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        build(stages, **options)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match=r"indices has shape \(5, 4\)"):
        build().lookup(torch.zeros(5, 4, dtype=torch.int64))
    with pytest.raises(InputError, match=r"x has shape \(3, 7\)"):
        build()(torch.zeros(3, 7))
    with pytest.raises(InputError, match=r"x is torch\.int64"):
        build()(torch.zeros(3, 8, dtype=torch.int64))
