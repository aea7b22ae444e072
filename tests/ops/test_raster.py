"""``rasterize`` and ``interpolate``: weights, depth, what is dropped, empty and tiny cases, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import Raster, implementations, interpolate, rasterize
from gptface.ops.raster.cpu import cpu_missing
from tests.ops.raster_cases import random_mesh

IMPLEMENTATIONS = ["reference", *(["cpu"] if cpu_missing() is None else [])]
TRIANGLE = torch.tensor([[0, 1, 2]])
CORNERS = [(-0.9, -0.8, 0.1, 1.0), (0.9, -0.7, 0.9, 1.5), (0.2, 0.8, -0.3, 0.9)]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.usefixtures("poisoned_empty")
def test_weights_meet_the_ray_through_the_pixel(impl: str) -> None:
    """Σ weight · position is a point of the triangle that projects to the pixel's centre, at the depth given."""
    positions, triangles = random_mesh(2, seed=1)
    raster = rasterize(positions, triangles, 61, 47, impl=impl)
    clip = interpolate(positions, raster, triangles, impl=impl)
    hit = raster.triangle >= 0
    assert 0.2 < hit.float().mean() < 0.9 and (raster.dropped == 0).all()
    x = ((2 * torch.arange(47) + 1) / 47 - 1).expand(2, 61, 47)
    y = (1 - (2 * torch.arange(61) + 1) / 61)[:, None].expand(2, 61, 47)
    torch.testing.assert_close((clip[..., 0] / clip[..., 3])[hit], x[hit], atol=1e-5, rtol=0)
    torch.testing.assert_close((clip[..., 1] / clip[..., 3])[hit], y[hit], atol=1e-5, rtol=0)
    torch.testing.assert_close((clip[..., 2] / clip[..., 3])[hit], raster.depth[hit], atol=1e-5, rtol=0)
    weights = torch.cat((raster.barycentric, 1 - raster.barycentric.sum(-1, keepdim=True)), -1)
    assert (weights >= -1e-6).all() and (weights <= 1 + 1e-6).all()
    for tensor in (raster.barycentric[~hit], raster.depth[~hit], clip[~hit]):
        assert (tensor == 0).all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    "bad",
    [
        (torch.nan, 0.0, 0.0, 1.0),
        (0.0, torch.inf, 0.0, 1.0),
        (0.0, 0.0, -torch.inf, 1.0),
        (0.0, 0.0, 0.0, torch.nan),
        (0.0, 0.0, 0.0, 0.0),  # in the plane of the eye
        (0.0, 0.0, 0.0, -1.0),  # behind it
        (0.0, 0.0, -1.001, 1.0),  # before the near plane
        (1e30, 0.0, 0.0, 1e-30),  # beyond every number of pixels
        (0.0, -40000.0, 0.0, 1.0),  # 160,000 pixels above
    ],
)
def test_triangles_that_cannot_be_drawn_are_dropped_and_counted(impl: str, bad: tuple[float, ...]) -> None:
    positions = torch.tensor([[*CORNERS, bad], [*CORNERS, CORNERS[0]]]).requires_grad_()
    triangles = torch.tensor([[3, 1, 2], [0, 1, 2], [0, 3, 1]])
    raster = rasterize(positions, triangles, 8, 8, impl=impl)
    assert raster.dropped.tolist() == [2, 0]
    assert set(raster.triangle[0].unique().tolist()) == {-1, 1}
    out = interpolate(positions.detach().nan_to_num(0.0, 0.0, 0.0), raster, triangles, impl=impl)
    (out.sum() + raster.depth.sum()).backward()
    assert positions.grad is not None and positions.grad.isfinite().all()
    assert (positions.grad[0, 3] == 0).all() and (positions.grad[0, :3] != 0).any()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_the_near_plane_itself_is_drawn_and_there_is_no_far_plane(impl: str) -> None:
    at_near = torch.tensor([[(x, y, -w, w) for x, y, _, w in CORNERS]])
    raster = rasterize(at_near, TRIANGLE, 9, 9, impl=impl)
    hit = raster.triangle == 0
    assert hit.any() and (raster.depth[hit] == -1).all()
    far = torch.tensor([[(x, y, 1e6, w) for x, y, _, w in CORNERS]])
    assert torch.equal(rasterize(far, TRIANGLE, 9, 9, impl=impl).triangle, raster.triangle)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("corners", [[0, 0, 1], [1, 1, 1], [0, 1, 3]])
def test_triangles_without_area_cover_nothing(impl: str, corners: list[int]) -> None:
    """A corner twice or three times, and three corners on a line through pixel centres."""
    positions = torch.tensor([[(-0.75, -0.75, 0.0, 1.0), (0.75, 0.75, 0.0, 1.0), (0, 0, 0, 1), (0.25, 0.25, 0.0, 1.0)]])
    raster = rasterize(positions, torch.tensor([corners]), 4, 4, impl=impl)
    assert (raster.triangle == -1).all() and raster.dropped.tolist() == [0]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize(("batch", "vertices", "count"), [(0, 3, 1), (2, 0, 0), (2, 3, 0), (0, 0, 0)])
def test_empty_meshes(impl: str, batch: int, vertices: int, count: int) -> None:
    positions = torch.zeros(batch, vertices, 4, requires_grad=True)
    triangles = torch.zeros(count, 3, dtype=torch.int32)
    attributes = torch.zeros(batch, vertices, 5, requires_grad=True)
    raster = rasterize(positions, triangles, 3, 2, impl=impl)
    out = interpolate(attributes, raster, triangles, impl=impl)
    assert (raster.triangle == -1).all() and raster.dropped.tolist() == [0] * batch
    assert out.shape == (batch, 3, 2, 5) and (out == 0).all() and (raster.depth == 0).all()
    (out.sum() + raster.depth.sum()).backward()
    assert positions.grad is not None and (positions.grad == 0).all()
    assert attributes.grad is not None and (attributes.grad == 0).all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_pictures_of_one_pixel(impl: str) -> None:
    positions = torch.tensor([CORNERS, [(x + 5, y, z, w) for x, y, z, w in CORNERS]], requires_grad=True)
    raster = rasterize(positions, TRIANGLE, 1, 1, impl=impl)
    assert raster.triangle.flatten().tolist() == [0, -1]
    interpolate(torch.eye(3)[None], raster, TRIANGLE, impl=impl)[..., 0].sum().backward()
    assert positions.grad is not None and (positions.grad[0] != 0).any() and (positions.grad[1] == 0).all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_triangle_thinner_than_the_snapping_gives_sound_weights(impl: str) -> None:
    """Snapped, it is a sub-pixel high and its upper edge runs through pixel centres, from which it is farther away than
    it is high."""
    step = 1 / 4096 / 4  # a sub-pixel of 8 pixels
    upper, lower = 0.125 - 0.45 * step, 0.125 - 0.6 * step
    positions = torch.tensor(
        [[(-0.9, upper, 0.0, 1.0), (0.9, upper, 0.0, 1.0), (0.0, lower, 0.5, 1.0)]], requires_grad=True
    )
    raster = rasterize(positions, TRIANGLE, 8, 8, impl=impl)
    assert (raster.triangle == 0).any()
    torch.testing.assert_close(raster.barycentric[raster.triangle == 0].max(), torch.tensor(1 / 3))
    raster.barycentric.sum().backward()
    assert positions.grad is not None and (positions.grad == 0).all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_strides_shared_attributes_and_index_types(impl: str) -> None:
    positions, triangles = random_mesh(3, seed=2)
    strided = torch.zeros(3, 4, positions.shape[1]).transpose(1, 2)
    strided.copy_(positions)
    raster = rasterize(positions, triangles, 20, 31, impl=impl)
    for other in (triangles.long(), triangles.int().t().contiguous().t()):
        for tensor, expected in zip(rasterize(strided, other, 20, 31, impl=impl), raster, strict=True):
            assert torch.equal(tensor, expected)
    attributes = torch.randn(1, positions.shape[1], 6)
    shared = interpolate(attributes, raster, triangles, impl=impl)
    assert torch.equal(shared, interpolate(attributes.expand(3, -1, -1), raster, triangles, impl=impl))
    assert torch.equal(shared[..., ::2], interpolate(attributes[..., ::2], raster, triangles.long(), impl=impl))


def test_what_is_listed() -> None:
    for operator in ("rasterize", "interpolate"):
        rows = {row.name: row for row in implementations(operator)}
        assert set(rows) == {"reference", "cpu", "cuda"} and rows["reference"].available
    assert {row.name for row in implementations("antialias")} == {"reference", "cpu"}


def test_float64_is_left_to_the_reference() -> None:
    positions = torch.tensor([CORNERS], dtype=torch.float64)
    assert rasterize(positions, TRIANGLE, 4, 4).depth.dtype == torch.float64
    if cpu_missing() is None:
        with pytest.raises(RuntimeError, match=r"impl='cpu' cannot run this call: positions is torch\.float64"):
            rasterize(positions, TRIANGLE, 4, 4, impl="cpu")


POSITIONS = torch.tensor([CORNERS])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((POSITIONS[0], TRIANGLE, 4, 4), r"positions is torch.float32 \(3, 4\); allowed: .*\(B, V, 4\)"),
        ((POSITIONS[..., :3], TRIANGLE, 4, 4), r"positions is torch.float32 \(1, 3, 3\)"),
        ((POSITIONS.half(), TRIANGLE, 4, 4), "positions is torch.float16"),
        (([CORNERS], TRIANGLE, 4, 4), "positions is a list"),
        ((POSITIONS, TRIANGLE[0], 4, 4), r"triangles is torch.int64 \(3,\); allowed: int32 or int64 \(T, 3\)"),
        ((POSITIONS, TRIANGLE.float(), 4, 4), "triangles is torch.float32"),
        ((POSITIONS, TRIANGLE, 0, 4), "height=0; allowed: 1 to 32768"),
        ((POSITIONS, TRIANGLE, 4, 40000), "width=40000"),
        ((POSITIONS, torch.tensor([[0, 1, 3]]), 4, 4), "triangles holds the vertex 3; allowed: 0 to 2"),
        ((POSITIONS[:, :0], TRIANGLE, 4, 4), "triangles holds the vertex 2; allowed: none"),
        ((POSITIONS, TRIANGLE, 4.5, 4), "height: 4.5 is not a whole number"),
        ((POSITIONS, TRIANGLE, 4, None), "width: None is not a whole number"),
        ((POSITIONS, torch.tensor([[0, -1, 2]]), 4, 4), "triangles holds the vertex -1"),
    ],
)
def test_rasterize_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"rasterize: {message}"):
        rasterize(*arguments)


def test_interpolate_refuses() -> None:
    raster = rasterize(POSITIONS, TRIANGLE, 4, 4)
    attributes = torch.zeros(1, 3, 2)

    def refuses(message: str, attributes: Any, raster: Any, triangles: Tensor) -> None:
        with pytest.raises(InputError, match=f"interpolate: {message}"):
            interpolate(attributes, raster, triangles)

    refuses("raster is a tuple", attributes, tuple(raster), TRIANGLE)
    refuses(r"attributes is torch.float32 \(3, 2\)", attributes[0], raster, TRIANGLE)
    refuses(r"attributes is torch.float32 \(2, 3, 2\)", attributes.expand(2, -1, -1), raster, TRIANGLE)
    refuses("attributes is torch.float64 on cpu", attributes.double(), raster, TRIANGLE)
    refuses("triangles holds the vertex 2; allowed: 0 to 1", attributes[:, :2], raster, TRIANGLE)
    refuses("raster shows triangle 0; .* of which there are 0", attributes, raster, TRIANGLE[:0])
    broken = Raster(raster.triangle, raster.barycentric[..., :1], raster.depth, raster.dropped)
    refuses("raster has triangle .* and barycentric", attributes, broken, TRIANGLE)
    with pytest.raises(ValueError, match="impl='magic' is not known"):
        interpolate(attributes, raster, TRIANGLE, impl="magic")
