"""``antialias`` and ``triangle_neighbours``: what is blended, by how much, and its gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.ops import antialias, interpolate, rasterize, triangle_neighbours
from gptface.ops.raster.cpu import cpu_missing
from tests.helpers.numerics import assert_matches_oracle
from tests.ops.raster_cases import random_mesh, sphere

IMPLEMENTATIONS = ["reference", *(["cpu"] if cpu_missing() is None else [])]


def quad(left: float, right: float, bottom: float, top: float, z: float = 0.0) -> Tensor:
    """Positions ``(1, 4, 4)`` in clip space, w = 1."""
    corners = ((left, bottom), (right, bottom), (right, top), (left, top))
    return torch.tensor([[(x, y, z, 1.0) for x, y in corners]], dtype=torch.float64)


TWO = torch.tensor([[0, 1, 2], [0, 2, 3]])


def silhouette(positions: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """White on black, antialiased: ``(B, H, W)``."""
    raster = rasterize(positions, triangles, height, width)
    white = (raster.triangle >= 0).to(positions.dtype)[..., None]
    return antialias(white, raster, positions, triangles)[..., 0]


def test_neighbours_of_a_closed_and_of_an_open_mesh() -> None:
    vertices, triangles = sphere(5, 7)
    inner = triangles[(triangles[:, 0] >= 7) & (triangles[:, 2] >= 7)]  # the poles of this sphere are split vertices
    found = triangle_neighbours(inner, len(vertices))
    assert found.shape == inner.shape and found.dtype == torch.int32
    for t, corners in enumerate(inner.tolist()):
        for side in range(3):
            edge = {corners[(side + 1) % 3], corners[(side + 2) % 3]}
            beyond = [other for other, named in enumerate(inner.tolist()) if other != t and edge <= set(named)]
            assert int(found[t, side]) == (beyond[0] if beyond else -1)
    fan = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4], [2, 0, 5]])  # three at one edge: nobody's neighbour
    assert triangle_neighbours(fan, 6).tolist() == [[-1, 3, -1], [-1, -1, -1], [-1, -1, -1], [-1, -1, 0]]
    assert triangle_neighbours(fan[:0], 6).shape == (0, 3)


@pytest.mark.parametrize("shift", [-0.45, -0.2, 0.0, 0.3, 0.49])
def test_a_straight_edge_is_blended_by_where_it_passes(shift: float) -> None:
    """A half plane whose edge lies ``shift`` pixels right of the border between columns 3 and 4."""
    edge = shift / 4  # a pixel of 8 is 2/8 wide
    drawn = silhouette(quad(-3, edge, -3, 3), TWO, 8, 8)
    expected = torch.zeros(8, dtype=torch.float64)
    expected[:4] = 1.0
    expected[3 if shift < 0 else 4] += shift
    torch.testing.assert_close(drawn[0], expected.expand(8, 8), atol=1e-9, rtol=0)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_silhouette_exactly_between_two_pixels_has_a_gradient(impl: str) -> None:
    """An edge on the border of two columns blends nothing; moving it by a pixel still adds one in every row."""
    positions = quad(-3, 0.0, -3, 3).float().requires_grad_()
    raster = rasterize(positions, TWO, 8, 8)
    white = (raster.triangle >= 0).float()[..., None]
    drawn = antialias(white, raster, positions, TWO, impl=impl)
    assert torch.equal(drawn, white)
    drawn.sum().backward()
    assert positions.grad is not None
    assert math.isclose(float(positions.grad[0, 1:3, 0].sum()), 8 * 4, rel_tol=1e-5)  # rows, pixels a unit of x


def test_the_border_of_the_picture_and_the_inside_of_a_surface_stay_as_they_are() -> None:
    """A wavy sheet over the whole picture, and random colours."""
    xs = torch.linspace(-1.2, 1.2, 24, dtype=torch.float64)
    x, y = xs.repeat(24), xs.repeat_interleave(24)
    positions = torch.stack((x, y, 0.1 * (5 * x).sin() * (4 * y).cos(), torch.ones_like(x)), -1)[None]
    corner = (torch.arange(23)[:, None] * 24 + torch.arange(23)[None]).reshape(-1)
    lower = torch.stack((corner, corner + 1, corner + 24), -1)
    triangles = torch.cat((lower, torch.stack((corner + 1, corner + 25, corner + 24), -1)))
    raster = rasterize(positions, triangles, 29, 31)
    assert (raster.triangle >= 0).all()
    colour = torch.rand(1, 29, 31, 3, dtype=torch.float64)
    assert torch.equal(antialias(colour, raster, positions, triangles), colour)


def test_a_nearer_surface_is_blended_with_what_is_behind_it() -> None:
    front, back = quad(-3, 0.05, -3, 3, z=-0.5), quad(-3, 3, -3, 3, z=0.5)
    positions, triangles = torch.cat((front, back), 1), torch.cat((TWO, TWO + 4))
    raster = rasterize(positions, triangles, 8, 8)
    colours = torch.tensor([[0.2]] * 4 + [[0.9]] * 4, dtype=torch.float64)[None]
    colour = interpolate(colours, raster, triangles)
    drawn = antialias(colour, raster, positions, triangles, neighbours=triangle_neighbours(triangles, 8))
    assert math.isclose(float(drawn[0, 0, 3, 0]), 0.2, abs_tol=1e-9)
    assert math.isclose(float(drawn[0, 0, 4, 0]), 0.9 + 0.2 * (0.2 - 0.9), abs_tol=1e-9)


def test_the_area_of_a_disc_of_triangles_smaller_than_pixels() -> None:
    """πr² within half a percent, where the count of pixels is off by more. Its derivative is the outline's length
    within a tenth: the silhouette of a mesh is a zigzag of edges."""
    vertices, triangles = sphere(60, 90)
    exact, side = 0.61, 33
    radius = torch.tensor(exact, dtype=torch.float64, requires_grad=True)
    flat = torch.cat((vertices * radius, torch.ones(len(vertices), 1, dtype=torch.float64)), -1)[None]
    drawn = silhouette(flat, triangles, side, side).sum()
    area, outline = math.pi * (exact * side / 2) ** 2, 2 * math.pi * exact * (side / 2) ** 2
    counted = float((rasterize(flat, triangles, side, side).triangle >= 0).sum())
    assert abs(float(drawn.detach()) - area) < 0.005 * area < abs(counted - area)
    drawn.backward()
    assert radius.grad is not None and abs(float(radius.grad) - outline) < 0.1 * outline


@pytest.mark.parametrize("seed", range(3))
def test_finite_differences_in_float64(seed: int) -> None:
    positions, triangles = random_mesh(2, seed=seed, rings=6, sectors=8, noise=0.01)
    positions = positions.double()
    generator = torch.Generator().manual_seed(seed)
    colour, weights = (torch.rand(2, 21, 24, 3, generator=generator, dtype=torch.float64) for _ in range(2))

    def scalar(positions: Tensor, colour: Tensor) -> Tensor:
        raster = rasterize(positions, triangles, 21, 24)
        return (antialias(colour, raster, positions, triangles) * weights).sum()

    leaves = [positions.clone().requires_grad_(), colour.clone().requires_grad_()]
    scalar(*leaves).backward()
    step = 1e-6
    for _ in range(5):
        way = torch.randn(positions.shape, generator=generator, dtype=torch.float64)
        numeric = (scalar(positions + step * way, colour) - scalar(positions - step * way, colour)) / (2 * step)
        assert leaves[0].grad is not None
        torch.testing.assert_close((leaves[0].grad * way).sum(), numeric, rtol=1e-5, atol=1e-5)
    way = torch.randn(colour.shape, generator=generator, dtype=torch.float64)
    assert leaves[1].grad is not None
    difference = scalar(positions, colour + way) - scalar(positions, colour)
    torch.testing.assert_close((leaves[1].grad * way).sum(), difference)


def blended(
    positions: Tensor, triangles: Tensor, size: tuple[int, int], channels: int, dtype: torch.dtype, impl: str
) -> list[Tensor]:
    """Result, and gradients of positions and colour, of random colours over the picture."""
    generator = torch.Generator().manual_seed(1)
    leaf = positions.detach().to(dtype, copy=True).requires_grad_()
    raster = rasterize(leaf, triangles, *size)
    shape = (len(positions), *size, channels)
    colour, upstream = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    drawn = antialias(colour.requires_grad_(), raster, leaf, triangles, impl=impl)
    drawn.backward(upstream)
    assert leaf.grad is not None and colour.grad is not None
    return [drawn.detach(), leaf.grad, colour.grad]


@pytest.mark.usefixtures("poisoned_empty")
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("batch", "size", "rings", "channels"), [(1, (61, 150), 8, 3), (3, (40, 33), 30, 1), (9, (7, 5), 5, 6)]
)
def test_is_as_good_as_float32_can_be(
    impl: str, batch: int, size: tuple[int, int], rings: int, channels: int
) -> None:
    positions, triangles = random_mesh(batch, seed=rings, rings=rings, sectors=rings + 2)
    found = blended(positions, triangles, size, channels, torch.float32, impl)
    plain = blended(positions, triangles, size, channels, torch.float32, "reference")
    exact = blended(positions, triangles, size, channels, torch.float64, "reference")
    names = ("colours", "gradient of positions", "gradient of colours")
    for name, mine, same_dtype, oracle in zip(names, found, plain, exact, strict=True):
        assert_matches_oracle(name, mine, same_dtype, oracle)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_same_bits_again_and_on_two_threads(impl: str) -> None:
    positions, triangles = random_mesh(2, seed=4, rings=20, sectors=20)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            found.append(blended(positions, triangles, (70, 80), 3, torch.float32, impl))
    finally:
        torch.set_num_threads(before)
    for first, *others in zip(*found, strict=True):
        assert all(torch.equal(first, other) for other in others)


def test_opcheck() -> None:
    positions, triangles = random_mesh(1, seed=5, rings=4, sectors=5)
    raster = rasterize(positions, triangles, 9, 8)
    neighbours = triangle_neighbours(triangles, positions.shape[1])
    colour = torch.rand(1, 9, 8, 2, requires_grad=True)
    for impl in IMPLEMENTATIONS:
        torch.library.opcheck(
            torch.ops.gptface.antialias.default,
            (colour, raster.triangle, raster.depth, positions.requires_grad_(), triangles, neighbours, impl),
        )
    torch.library.opcheck(torch.ops.gptface.triangle_neighbours.default, (triangles, positions.shape[1]))


def test_empty_meshes_and_dropped_triangles() -> None:
    colour = torch.rand(1, 4, 4, 2, requires_grad=True)
    positions = torch.zeros(1, 3, 4, requires_grad=True)
    for triangles in (torch.zeros(0, 3, dtype=torch.int32), torch.tensor([[0, 1, 2]])):
        raster = rasterize(positions, triangles, 4, 4)
        drawn = antialias(colour, raster, positions, triangles)
        assert torch.equal(drawn, colour)
        drawn.sum().backward()
    assert positions.grad is not None and (positions.grad == 0).all()


def test_refusals() -> None:
    positions, triangles = random_mesh(1, seed=6, rings=4, sectors=4)
    raster = rasterize(positions, triangles, 5, 6)
    colour = torch.zeros(1, 5, 6, 3)

    def refuses(message: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(InputError, match=f"antialias: {message}"):
            antialias(*arguments, **options)

    refuses(r"colour is torch.float32 \(1, 5, 6\); allowed: \(B, H", colour[..., 0], raster, positions, triangles)
    refuses("colour is torch.float64", colour.double(), raster, positions, triangles)
    refuses("raster is a tuple", colour, tuple(raster), positions, triangles)
    for depth in (None, raster.depth[:, :2], raster.depth.double()):  # shorter ones were read beyond their end
        refuses("raster has depth", colour, raster._replace(depth=depth), positions, triangles)
    refuses("raster has triangle a NoneType", colour, raster._replace(triangle=None), positions, triangles)
    refuses("neighbours is a list", colour, raster, positions, triangles, neighbours=[[0, 1, 2]])
    beyond = torch.full(triangles.shape, len(triangles), dtype=torch.int32)
    refuses("neighbours holds the triangle", colour, raster, positions, triangles, neighbours=beyond)
    wrong = torch.zeros(1, 3, dtype=torch.int32)
    refuses("neighbours is .*allowed: what triangle_neighbours", colour, raster, positions, triangles, neighbours=wrong)
    with pytest.raises(InputError, match="triangle_neighbours: triangles holds the vertex 19; allowed: 0 to 4"):
        triangle_neighbours(triangles, 5)
    with pytest.raises(InputError, match=r"vertices: 1\.5 is not a whole number"):
        triangle_neighbours(triangles, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_colour_of_no_channels_passes(impl: str) -> None:
    positions, triangles = random_mesh(1, seed=6, rings=4, sectors=4)
    positions.requires_grad_()
    raster = rasterize(positions, triangles, 5, 6)
    colour = torch.zeros(1, 5, 6, 0, requires_grad=True)
    drawn = antialias(colour, raster, positions, triangles, impl=impl)
    drawn.sum().backward()
    assert drawn.shape == colour.shape and positions.grad is not None and not positions.grad.any()
