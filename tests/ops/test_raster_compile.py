"""Rasterisation under torch's tools: opcheck, and compiled without a break or a recompilation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from gptface.errors import InputError
from gptface.ops import interpolate, rasterize
from gptface.ops.raster.cpu import cpu_missing
from tests.ops.raster_cases import random_mesh

IMPLEMENTATIONS = ["reference", *(["cpu"] if cpu_missing() is None else [])]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_opcheck(impl: str) -> None:
    positions, triangles = random_mesh(2, seed=1, rings=4, sectors=4)
    positions.requires_grad_()
    operators = torch.ops.gptface
    torch.library.opcheck(operators.rasterize.default, (positions, triangles, 9, 7, impl))
    raster = rasterize(positions.detach(), triangles, 9, 7, impl=impl)
    barycentric = raster.barycentric.clone().requires_grad_()
    attributes = torch.randn(1, positions.shape[1], 3, requires_grad=True)
    torch.library.opcheck(
        operators.interpolate.default, (attributes, raster.triangle, barycentric, triangles, impl)
    )
    for tests in (("test_schema", "test_faketensor"),):
        torch.library.opcheck(
            operators.rasterize_backward.default,
            (torch.randn(2, 9, 7, 2), None, positions.detach(), triangles, raster.triangle, impl),
            test_utils=tests,
        )
        torch.library.opcheck(
            operators.interpolate_backward.default,
            (torch.randn(2, 9, 7, 3), attributes.detach(), raster.triangle, raster.barycentric, triangles, impl),
            test_utils=tests,
        )




def drawn_and_gradients(function: object, positions: Tensor, triangles: Tensor, height: int) -> list[Tensor]:
    leaves = [positions.clone().requires_grad_(), torch.ones(1, positions.shape[1], 3).requires_grad_()]
    result = function(*leaves, triangles, height)  # type: ignore[operator]
    result.backward()
    return [result.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def test_a_compiled_step_equals_the_eager_one_and_does_not_recompile() -> None:
    def step(positions: Tensor, attributes: Tensor, triangles: Tensor, height: int) -> Tensor:
        raster = rasterize(positions, triangles, height, 30)
        return (interpolate(attributes, raster, triangles).square().sum(-1) + raster.depth).sum()

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(step, backend=counter, fullgraph=True)
    for batch, rings, height in ((2, 5, 20), (3, 6, 21), (4, 7, 22), (5, 8, 23)):
        positions, triangles = random_mesh(batch, seed=batch, rings=rings, sectors=6)
        found = drawn_and_gradients(compiled, positions, triangles, height)
        for tensor, expected in zip(found, drawn_and_gradients(step, positions, triangles, height), strict=True):
            torch.testing.assert_close(tensor, expected)
    assert counter.frame_count <= 2  # static, then dynamic


def test_compiled_code_refuses_a_vertex_that_does_not_exist() -> None:
    positions, triangles = random_mesh(1, seed=1, rings=4, sectors=4)
    compiled = torch.compile(lambda x, t: rasterize(x, t, 5, 5).depth, backend="aot_eager", fullgraph=True)
    compiled(positions, triangles)
    with pytest.raises(InputError, match="triangles holds the vertex 20"):
        compiled(positions, triangles.clamp_min(1) + 1)
