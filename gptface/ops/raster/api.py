"""``rasterize``, ``interpolate`` and ``antialias``: what people call."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.integers import whole_number
from gptface.ops.derivatives import refuse_other_derivatives
from gptface.ops.raster import library as _registered  # noqa: F401  (defines the operators)
from gptface.ops.raster.choice import choose

__all__ = ["Raster", "antialias", "interpolate", "rasterize", "triangle_neighbours"]

_LARGEST_SIDE = 2**15


class Raster(NamedTuple):
    """What every pixel of B pictures shows; row 0 is the top row, column 0 the left one.

    Attributes:
        triangle: int32 ``(B, H, W)``, the row of ``triangles``; −1 where nothing is hit.
        barycentric: ``(B, H, W, 2)`` in the dtype of positions: perspective-correct weights of the triangle's first and
            second corner, each in [0, 1]; the third has what is left to 1. 0 where nothing is hit.
        depth: ``(B, H, W)``, z/w at the pixel's centre, −1 at the near plane; 0 where nothing is hit.
        dropped: int32 ``(B,)``, how many triangles could not be drawn (see :func:`rasterize`).
    """

    triangle: Tensor
    barycentric: Tensor
    depth: Tensor
    dropped: Tensor


def rasterize(positions: Tensor, triangles: Tensor, height: int, width: int, *, impl: str = "auto") -> Raster:
    """Find the triangle that every pixel of ``height`` × ``width`` shows.

    **Coordinates** are OpenGL's clip space: a vertex ``(x, y, z, w)`` is seen at ``(x/w, y/w)``, where −1 to 1 spans
    the picture, x to the right and **y upwards**; row 0 of the result is the top of the picture (y/w near 1), as in
    image files. Depth z/w grows away from the eye, and −1 is the near plane.

    **Coverage.** Corners are snapped to 1/4096 of a pixel (halves to even), and the rest is exact: a pixel belongs to
    the triangles that hold its centre; a centre on an edge, to the triangle of which it is an upper or left edge. So
    triangles that share an edge neither overlap nor leave a gap. Both orientations are drawn. The nearest wins: the
    least z/w of the snapped triangle, in float64; of equal ones the lowest triangle. Triangles with the same three
    vertices are equal in whatever order they name them, and so are triangles of the same constant z/w. A triangle whose
    snapped area is 0 covers nothing.

    **Dropped** and counted in ``dropped`` is a triangle with a corner that is not finite, is not in front of the eye
    (``w <= 0``), lies before the near plane (``z < −w``) or farther than 131072 pixels from the upper left corner: it
    is left out as a whole, not clipped. There is no far plane. On a CUDA device a triangle that names a vertex which
    does not exist is dropped, too.

    **Gradients** flow from barycentric and depth to positions, for the triangle that each pixel shows; that another
    would show has none (see ``antialias``). Where the snapping lets a triangle show at a centre beyond its edge, the
    weights are those of a point at the edge, and their gradient is that of the weights before they were cut; it is 0
    where the triangle is thinner than the snapping. The same call gives the same bits, gradients included. First
    derivatives in reverse mode only.

    Args:
        positions: float32 ``(B, V, 4)``; float64 is taken by ``"reference"``.
        triangles: int32 or int64 ``(T, 3)``: vertices of each triangle, for all B meshes.
        height, width: of the pictures in pixels, 1 to 32768 each.
        impl: ``"auto"`` or a name from ``gptface.ops.implementations("rasterize")``.

    Returns:
        A :class:`Raster`.

    Raises:
        InputError: an argument has the wrong rank, dtype, device or range; on the CPU also for a vertex in
            ``triangles`` that does not exist.
        ValueError, RuntimeError: an ``impl`` that is unknown, or that cannot run here; a derivative that there is not.
    """
    _check_positions("rasterize", positions)
    _check_triangles("rasterize", triangles, positions)
    height, width = _checked_side("height", height), _checked_side("width", width)
    impl = choose("rasterize", impl, "positions", positions)
    refuse_other_derivatives("rasterize", positions)
    barycentric, depth, triangle, dropped = torch.ops.gptface.rasterize(positions, triangles, height, width, impl)
    return Raster(triangle, barycentric, depth, dropped)


def interpolate(attributes: Tensor, raster: Raster, triangles: Tensor, *, impl: str = "auto") -> Tensor:
    """Mix attributes of vertices (colours, normals, texture coordinates …) at every pixel.

    ``out[b, h, w]`` is the mean of the attributes of the triangle's corners with the weights ``raster.barycentric``,
    and 0 where no triangle is. Gradients flow to ``attributes`` and, through the weights, to the positions that were
    rasterised; same call, same bits. First derivatives in reverse mode only.

    Args:
        attributes: ``(B, V, C)``, or ``(1, V, C)`` for all B meshes; dtype as ``raster.barycentric``.
        raster: what :func:`rasterize` gave.
        triangles: those it was given.
        impl: ``"auto"`` or a name from ``gptface.ops.implementations("interpolate")``.

    Returns:
        ``(B, H, W, C)``.

    Raises:
        InputError: an argument has the wrong rank, dtype or device; on the CPU also for a vertex or a triangle that
            does not exist.
        ValueError, RuntimeError: an ``impl`` that is unknown, or that cannot run here; a derivative that there is not.
    """
    barycentric = _check_raster("interpolate", raster)
    batch = barycentric.shape[0]
    if not isinstance(attributes, Tensor) or attributes.dim() != 3 or attributes.shape[0] not in (1, batch):
        raise InputError(
            f"interpolate: attributes is {_described(attributes)}; allowed: (B, V, C) or (1, V, C), and raster has "
            f"B = {batch}"
        )
    if attributes.dtype != barycentric.dtype or attributes.device != barycentric.device:
        raise InputError(
            f"interpolate: attributes is {attributes.dtype} on {attributes.device}, raster.barycentric "
            f"{barycentric.dtype} on {barycentric.device}; allowed: the same"
        )
    _check_triangles("interpolate", triangles, attributes)
    impl = choose("interpolate", impl, "attributes", attributes)
    refuse_other_derivatives("interpolate", attributes, barycentric)
    return torch.ops.gptface.interpolate(attributes, raster.triangle, barycentric, triangles, impl)


def triangle_neighbours(triangles: Tensor, vertices: int) -> Tensor:
    """Which triangle lies beyond each edge: what :func:`antialias` needs of a mesh, once for all its pictures.

    Args:
        triangles: int32 or int64 ``(T, 3)``.
        vertices: how many there are.

    Returns:
        int32 ``(T, 3)``: the triangle beyond the edge opposite each corner, −1 where an edge belongs to one triangle
        alone, or to more than two.

    Raises:
        InputError: wrong rank or dtype; on the CPU also for a vertex that does not exist.
    """
    _check_triangles("triangle_neighbours", triangles, triangles)
    if not isinstance(vertices, (int, torch.SymInt)):
        vertices = whole_number(vertices, "triangle_neighbours: vertices")
    return torch.ops.gptface.triangle_neighbours(triangles, vertices)


def antialias(
    colour: Tensor,
    raster: Raster,
    positions: Tensor,
    triangles: Tensor,
    *,
    neighbours: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """Blend colours across silhouettes, which gives the outline of a surface a gradient.

    Between two neighbouring pixels that show different triangles, the way from the nearer surface's pixel to the other
    is followed over shared edges. Where it leaves the surface (at an edge without a neighbour, or one at which the
    surface turns back behind itself) before the other pixel's centre, the two colours are blended by where that edge
    passes: nothing at the middle, half of the other's colour at a centre. A steep edge counts between the pixels of a
    row, a flat one between those of a column. Everywhere else ``colour`` passes unchanged.
    A shape that is drawn in one pixel alone, or thinner than a pixel, is blended only where a pixel shows it.

    Gradients flow to ``colour``, and to ``positions`` through where the edges pass; not through the choice of the edges
    and of what is in front. Same call, same bits. First derivatives in reverse mode only. Method: Laine et al. 2020,
    section 3.4.

    Args:
        colour: ``(B, H, W, C)``, dtype as ``positions``: anything that was drawn from ``raster``, a background put in.
        raster: what :func:`rasterize` gave.
        positions, triangles: those it was given.
        neighbours: of :func:`triangle_neighbours`, which is called where this is ``None``.
        impl: ``"auto"``, ``"cpu"`` or ``"reference"``, which waits for its inputs on a GPU.

    Returns:
        ``(B, H, W, C)``.

    Raises:
        InputError: an argument has the wrong rank, dtype or device; on the CPU also for a vertex or a triangle that
            does not exist.
        ValueError, RuntimeError: an ``impl`` that is unknown, or that cannot run here; a derivative that there is not.
    """
    shape = _check_raster("antialias", raster).shape[:3]
    depth = raster.depth
    if not isinstance(depth, Tensor) or depth.shape != shape or depth.dtype != raster.barycentric.dtype:
        raise InputError(
            f"antialias: raster has depth {_described(depth)}; allowed: {raster.barycentric.dtype} {tuple(shape)}, as "
            "its barycentric"
        )
    _check_positions("antialias", positions)
    _check_triangles("antialias", triangles, positions)
    if not isinstance(colour, Tensor) or colour.dim() != 4 or colour.shape[:3] != shape:
        raise InputError(f"antialias: colour is {_described(colour)}; allowed: (B, H, W, C) of raster's {tuple(shape)}")
    if colour.dtype != positions.dtype or colour.device != positions.device or positions.shape[0] != shape[0]:
        raise InputError(
            f"antialias: colour is {_described(colour)} on {colour.device}, positions {_described(positions)} on "
            f"{positions.device}; allowed: one dtype, one device and B alike"
        )
    if neighbours is None:
        neighbours = triangle_neighbours(triangles, positions.shape[1])
    elif (
        not isinstance(neighbours, Tensor)
        or neighbours.shape != triangles.shape
        or neighbours.dtype != torch.int32
        or neighbours.device != colour.device
    ):
        raise InputError(
            f"antialias: neighbours is {_described(neighbours)}; allowed: what triangle_neighbours returns for these "
            f"triangles, int32 {tuple(triangles.shape)}"
        )
    impl = choose("antialias", impl, "colour", colour)
    refuse_other_derivatives("antialias", colour, positions)
    return torch.ops.gptface.antialias(colour, raster.triangle, depth.detach(), positions, triangles, neighbours, impl)


def _described(given: object) -> str:
    return f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"


def _checked_side(name: str, size: int) -> int:
    """A picture's side, which ``torch.compile`` may hand over as a symbol."""
    whole = size if isinstance(size, (int, torch.SymInt)) else whole_number(size, f"rasterize: {name}")
    if not 1 <= whole <= _LARGEST_SIDE:
        raise InputError(f"rasterize: {name}={size}; allowed: 1 to {_LARGEST_SIDE} pixels")
    return whole


def _check_positions(operator: str, positions: Tensor) -> None:
    if (
        not isinstance(positions, Tensor)
        or positions.dim() != 3
        or positions.shape[-1] != 4
        or positions.dtype not in (torch.float32, torch.float64)
    ):
        raise InputError(f"{operator}: positions is {_described(positions)}; allowed: float32 or float64 (B, V, 4)")


def _check_triangles(operator: str, triangles: Tensor, beside: Tensor) -> None:
    if (
        not isinstance(triangles, Tensor)
        or triangles.dim() != 2
        or triangles.shape[1] != 3
        or triangles.dtype not in (torch.int32, torch.int64)
    ):
        raise InputError(f"{operator}: triangles is {_described(triangles)}; allowed: int32 or int64 (T, 3)")
    if triangles.device != beside.device:
        raise InputError(
            f"{operator}: triangles is on {triangles.device}, the vertices on {beside.device}; allowed: one device"
        )


def _check_raster(operator: str, raster: Raster) -> Tensor:
    """``raster.barycentric``, once its shape and that of ``raster.triangle`` are found to be those of a Raster."""
    if not isinstance(raster, Raster):
        raise InputError(f"{operator}: raster is {_described(raster)}; allowed: what gptface.ops.rasterize returns")
    triangle, barycentric = raster.triangle, raster.barycentric
    if (
        not isinstance(triangle, Tensor)
        or not isinstance(barycentric, Tensor)
        or triangle.dim() != 3
        or triangle.dtype != torch.int32
        or barycentric.shape != (*triangle.shape, 2)
        or barycentric.dtype not in (torch.float32, torch.float64)
        or triangle.device != barycentric.device
    ):
        raise InputError(
            f"{operator}: raster has triangle {_described(triangle)} and barycentric {_described(barycentric)}; "
            "allowed: int32 (B, H, W) and float32 or float64 (B, H, W, 2) on one device"
        )
    return barycentric
