"""Which pixels a triangle covers: exactly those of rational arithmetic, and every pixel of a surface once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptface.ops import rasterize
from gptface.ops.raster.cpu import cpu_missing
from tests.ops.raster_cases import covered_exactly

IMPLEMENTATIONS = ["reference", *(["cpu"] if cpu_missing() is None else [])]

# Coordinates whose projection float64 holds exactly, so that the oracle and the operator snap the same numbers. The
# coarse grid puts corners on pixel centres, on borders between pixels and on one another.
fine = st.integers(-(2**21), 2**21).map(lambda n: n / 2**20)
coarse = st.integers(-12, 12).map(lambda n: n / 8)
coordinate = st.one_of(fine, coarse)
corner = st.tuples(coordinate, coordinate, st.sampled_from([0.5, 1.0, 2.0]))
sizes = st.tuples(st.sampled_from([1, 2, 7, 8, 16]), st.sampled_from([1, 3, 8, 13, 16]))


def clip_space(corners: list[tuple[float, float, float]]) -> Tensor:
    return torch.tensor([[(x * w, y * w, 0.0, w) for x, y, w in corners]])


def shown(positions: Tensor, triangles: Tensor, size: tuple[int, int], impl: str) -> Tensor:
    return rasterize(positions, triangles, *size, impl=impl).triangle[0]


def pixels(mask: Tensor) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in mask.nonzero()}


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@given(corners=st.lists(corner, min_size=3, max_size=3), size=sizes)
@settings(max_examples=150, deadline=None)
def test_a_triangle_covers_what_rational_arithmetic_says(
    impl: str, corners: list[tuple[float, float, float]], size: tuple[int, int]
) -> None:
    positions = clip_space(corners)
    found = shown(positions, torch.tensor([[0, 1, 2]]), size, impl)
    assert pixels(found == 0) == covered_exactly(positions[0], [0, 1, 2], *size)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@given(corners=st.lists(corner, min_size=4, max_size=9), size=sizes, data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_nearest_of_several_wins_and_of_equal_ones_the_lowest(
    impl: str, corners: list[tuple[float, float, float]], size: tuple[int, int], data: st.DataObject
) -> None:
    """Every triangle lies at a depth of its own or at that of another."""
    count = data.draw(st.integers(1, 6))
    named = data.draw(st.lists(st.permutations(range(len(corners))), min_size=count, max_size=count))
    depths = data.draw(st.lists(st.sampled_from([-0.75, 0.1, 0.3, 7.5]), min_size=count, max_size=count))
    given_corners = clip_space(corners)[0]
    positions = torch.cat([given_corners[list(order[:3])] for order in named])
    for t, depth in enumerate(depths):
        # w of 0.5, 1 or 2: z/w is the same float64 at all three corners.
        positions[3 * t : 3 * t + 3, 2] = torch.tensor(depth) * positions[3 * t : 3 * t + 3, 3]
    triangles = torch.arange(3 * count).view(count, 3)
    expected = torch.full(size, -1, dtype=torch.int32)
    for t in sorted(range(count), key=lambda t: (depths[t], t), reverse=True):
        for row, column in covered_exactly(positions, triangles[t].tolist(), *size):
            expected[row, column] = t
    assert torch.equal(shown(positions[None], triangles, size, impl), expected)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@given(
    columns=st.lists(fine.map(lambda x: x / 2.5), min_size=1, max_size=4, unique=True),
    rows=st.lists(fine.map(lambda y: y / 2.5), min_size=1, max_size=4, unique=True),
    size=sizes,
    data=st.data(),
)
@settings(max_examples=30, deadline=None)
def test_triangles_that_share_edges_hit_every_pixel_once(
    impl: str, columns: list[float], rows: list[float], size: tuple[int, int], data: st.DataObject
) -> None:
    """A jittered grid that fills the picture, cells cut along either diagonal, orientation at random."""
    xs, ys = [-1.5, *sorted(columns), 1.5], [-1.5, *sorted(rows), 1.5]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    positions = torch.tensor([[(x, y, 0.0, 1.0) for y in ys for x in xs]])
    triangles = []
    for j in range(len(ys) - 1):
        for i in range(len(xs) - 1):
            a, b = j * len(xs) + i, j * len(xs) + i + 1
            c, d = a + len(xs), b + len(xs)
            pair = [[a, b, c], [b, d, c]] if torch.rand((), generator=generator) < 0.5 else [[a, b, d], [a, d, c]]
            triangles += [corners[::-1] if torch.rand((), generator=generator) < 0.5 else corners for corners in pair]
    hits = torch.zeros(size, dtype=torch.int32)
    for corners in triangles:
        hits += (shown(positions, torch.tensor([corners]), size, impl) == 0).int()
    assert (hits == 1).all()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("size", [(40, 150), (224, 70), (1, 333), (33, 65)])
def test_large_triangles_and_the_borders_of_tiles(impl: str, size: tuple[int, int]) -> None:
    """A fan around a point: triangles of every extent, across tiles, that cover the picture once."""
    generator = torch.Generator().manual_seed(3)
    angle = torch.sort(torch.rand(40, generator=generator)).values * 2 * torch.pi
    angle = torch.cat((torch.linspace(0, 5.5, 8), angle)).sort().values
    rim = torch.stack((4 * angle.cos(), 4 * angle.sin()), -1)
    places = torch.cat((torch.tensor([[0.13, -0.21]]), rim))
    positions = torch.cat((places, torch.zeros(len(places), 1), torch.ones(len(places), 1)), -1)[None]
    number = len(angle)
    around = torch.arange(number)
    triangles = torch.stack((torch.zeros(number), 1 + around, 1 + (around + 1) % number), -1)
    found = shown(positions, triangles.int(), size, impl)
    assert (found >= 0).all()
    hits = sum(
        (shown(positions, triangles[t : t + 1].int(), size, impl) == 0).int() * (t + 1) for t in range(number)
    )
    assert torch.equal(hits, found + 1)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_row_0_is_the_top_and_column_0_the_left(impl: str) -> None:
    corners = [(-1.0, 1.0, 1.0), (-0.5, 1.0, 1.0), (-1.0, 0.5, 1.0)]  # at the upper left
    found = shown(clip_space(corners), torch.tensor([[0, 1, 2]]), (8, 8), impl)
    assert pixels(found == 0) == {(0, 0)}


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_the_order_in_which_a_triangle_names_its_corners_changes_no_depth(impl: str) -> None:
    """Copies with permuted corners, slanted and in perspective: the lowest wins everywhere."""
    positions = torch.tensor([[(-0.9, -0.8, 0.1, 1.1), (1.3, -0.7, 0.9, 1.7), (0.2, 1.1, -0.3, 0.9)]])
    orders = [[1, 2, 0], [0, 1, 2], [2, 1, 0], [0, 2, 1]]
    for first in range(4):
        triangles = torch.tensor(orders[first:] + orders[:first])
        found = shown(positions, triangles, (31, 29), impl)
        assert set(found.unique().tolist()) == {-1, 0}
