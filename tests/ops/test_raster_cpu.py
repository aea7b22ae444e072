"""The native rasteriser: the reference's triangles to the last pixel, on any number of threads, in every instruction
set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gptface.ops import Raster, interpolate, rasterize
from gptface.ops.native import cpu_instruction_set
from gptface.ops.raster.cpu import cpu_missing
from tests.helpers.numerics import assert_matches_oracle
from tests.ops.raster_cases import random_mesh

pytestmark = pytest.mark.skipif(cpu_missing() is not None, reason=str(cpu_missing()))


@pytest.fixture(params=["portable", "avx2", "avx512"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = cpu_instruction_set()
    try:
        cpu_instruction_set(request.param)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield request.param
    cpu_instruction_set(before)


def meshes() -> dict[str, tuple[Tensor, Tensor, int, int]]:
    """Fine and coarse, crumpled through itself, partly outside of the picture and before the near plane."""
    found = {}
    positions, triangles = random_mesh(2, seed=1, rings=40, sectors=52, noise=0.01)
    found["fine"] = (positions, triangles, 100, 131)
    positions, triangles = random_mesh(3, seed=2, rings=5, sectors=4, noise=0.3)
    found["coarse"] = (positions, triangles, 130, 70)
    positions, triangles = random_mesh(2, seed=3, rings=12, sectors=12, noise=0.5)
    positions[..., 0] += 1.0
    positions[..., 3] -= 0.7
    found["across the borders"] = (positions, triangles, 65, 64)
    positions, triangles = random_mesh(1, seed=4, rings=90, sectors=90)
    found["smaller than pixels"] = (positions, triangles, 17, 11)
    return found


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("name", meshes())
def test_shows_the_triangles_of_the_reference(name: str, instruction_set: str) -> None:
    positions, triangles, height, width = meshes()[name]
    found = rasterize(positions, triangles, height, width, impl="cpu")
    plain = rasterize(positions, triangles, height, width, impl="reference")
    exact = rasterize(positions.double(), triangles, height, width, impl="reference")
    assert torch.equal(found.triangle, plain.triangle) and torch.equal(found.triangle, exact.triangle)
    assert torch.equal(found.dropped, plain.dropped)
    assert name != "across the borders" or (found.dropped > 0).all()
    attributes = torch.randn(1, positions.shape[1], 3, generator=torch.Generator().manual_seed(0))
    drawn = [
        interpolate(attributes.to(raster.depth.dtype), raster, triangles, impl=impl)
        for raster, impl in ((found, "cpu"), (plain, "reference"), (exact, "reference"))
    ]
    assert_matches_oracle("barycentric", found.barycentric, plain.barycentric, exact.barycentric)
    assert_matches_oracle("depth", found.depth, plain.depth, exact.depth)
    assert_matches_oracle("attributes", *drawn)


def everything(positions: Tensor, triangles: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """Results and gradients of one pass."""
    generator = torch.Generator().manual_seed(1)
    leaf = positions.clone().requires_grad_()
    attributes = torch.randn(1, positions.shape[1], 3, generator=generator).requires_grad_()
    raster: Raster = rasterize(leaf, triangles, *size, impl="cpu")
    drawn = interpolate(attributes, raster, triangles, impl="cpu")
    upstream = torch.randn(drawn.shape, generator=generator)
    ((drawn * upstream).sum() + (raster.depth * upstream[..., 0]).sum()).backward()
    assert leaf.grad is not None and attributes.grad is not None
    return [*raster, drawn, leaf.grad, attributes.grad]


@pytest.mark.parametrize(("batch", "size"), [(1, (300, 200)), (3, (97, 130))])
def test_same_bits_again_and_on_any_number_of_threads(batch: int, size: tuple[int, int]) -> None:
    positions, triangles = random_mesh(batch, seed=7, rings=50, sectors=50)
    first = everything(positions, triangles, size)
    before = torch.get_num_threads()
    try:
        for threads in (before, 2, 3):
            torch.set_num_threads(threads)
            for again, tensor in zip(everything(positions, triangles, size), first, strict=True):
                assert torch.equal(again, tensor)
    finally:
        torch.set_num_threads(before)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    positions, triangles = random_mesh(4, seed=8, rings=20, sectors=20)
    together = rasterize(positions, triangles, 70, 70)
    for b in range(4):
        for alone, batched in zip(rasterize(positions[b : b + 1], triangles, 70, 70), together, strict=True):
            assert torch.equal(alone[0], batched[b])
