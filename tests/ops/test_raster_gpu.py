"""Ring 4: the CUDA rasteriser on a device.

What its kernels compute is held on the threads of a CPU by ``tests/native/raster_checks.cpp``.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gptface.ops import interpolate, rasterize
from gptface.ops.raster.cuda import cuda_missing
from tests.helpers.numerics import assert_matches_oracle
from tests.ops.raster_cases import random_mesh

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_missing() is not None, reason=str(cuda_missing()))]


def everything(positions: Tensor, triangles: Tensor, size: tuple[int, int], impl: str) -> list[Tensor]:
    """Results, then gradients."""
    leaf = positions.clone().requires_grad_()
    attributes = torch.linspace(-1, 1, positions.shape[1] * 3).to(positions).view(1, -1, 3).requires_grad_()
    raster = rasterize(leaf, triangles, *size, impl=impl)
    drawn = interpolate(attributes, raster, triangles, impl=impl)
    (drawn.square().sum() + raster.depth.sum()).backward()
    assert leaf.grad is not None and attributes.grad is not None
    return [raster.triangle, raster.dropped, raster.barycentric, raster.depth, drawn, leaf.grad, attributes.grad]


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize(("rings", "size"), [(60, (97, 130)), (5, (300, 200)), (12, (1, 1))])
def test_is_the_definition(rings: int, size: tuple[int, int]) -> None:
    positions, triangles = random_mesh(2, seed=rings, rings=rings, sectors=rings + 3)
    positions[0, 7] = torch.nan
    found = everything(positions.cuda(), triangles.cuda(), size, "cuda")
    plain = everything(positions, triangles, size, "reference")
    exact = everything(positions.double(), triangles, size, "reference")
    assert torch.equal(found[0].cpu(), plain[0]) and torch.equal(found[1].cpu(), plain[1])
    for mine, same_dtype, oracle in zip(found[2:], plain[2:], exact[2:], strict=True):
        assert_matches_oracle("cuda", mine.cpu(), same_dtype, oracle)


def test_same_bits_again() -> None:
    positions, triangles = random_mesh(3, seed=1, rings=40, sectors=40)
    first = everything(positions.cuda(), triangles.cuda(), (150, 150), "cuda")
    for again, tensor in zip(everything(positions.cuda(), triangles.cuda(), (150, 150), "cuda"), first, strict=True):
        assert torch.equal(again, tensor)


def test_a_vertex_that_does_not_exist_is_dropped_and_counted() -> None:
    positions, triangles = random_mesh(2, seed=2)
    broken = triangles.clone()
    broken[3, 1] = positions.shape[1]
    raster = rasterize(positions.cuda(), broken.cuda(), 30, 30, impl="cuda")
    assert raster.dropped.tolist() == [1, 1] and not (raster.triangle == 3).any()


def test_nothing_synchronises_and_a_graph_replays() -> None:
    positions, triangles = (tensor.cuda() for tensor in random_mesh(2, seed=3, rings=20, sectors=20))
    rasterize(positions, triangles, 64, 64, impl="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        everything(positions, triangles, (64, 64), "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        raster = rasterize(positions, triangles, 64, 64, impl="cuda")
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(raster.triangle, rasterize(positions, triangles, 64, 64, impl="cuda").triangle)
