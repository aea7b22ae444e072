"""Rasterisation and interpolation written like their definition, in plain PyTorch; the oracle of every test.

Which pixels a triangle covers is decided in integers, in units of 1/4096 of a pixel, and which triangle is nearest in
float64 with every operation rounded by itself, so other implementations can agree on both bit for bit. Weights and
depth, and their gradients for each pixel, are float64 before they are rounded to the dtype of positions: float32 would
lose half its digits in the small triangles of a fine mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "SUBPIXELS",
    "Corners",
    "corner_rows",
    "interpolate_backward_reference",
    "interpolate_reference",
    "rasterize_backward_reference",
    "rasterize_reference",
    "screen_corners",
    "sum_rows",
]

SUBPIXELS = 4096  # steps of the grid that corners are snapped to, in a pixel
GUARD_BAND = 2**29  # sub-pixels: corners farther than that from the picture's origin would overflow int64
_CANDIDATES = 2**20  # pairs of triangle and pixel looked at together


class Corners(NamedTuple):
    """The vertices as the screen sees them, each ``(B, V)``.

    Attributes:
        x: int64, sub-pixels from the left border.
        y: int64, sub-pixels from the upper border, downwards.
        z: float64, z/w.
        usable: whether a triangle may have it as a corner.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    usable: Tensor


def screen_corners(positions: Tensor, height: int, width: int) -> Corners:
    """Project ``positions (B, V, 4)`` and snap them to the grid of sub-pixels, halves to even."""
    x, y, z, w = positions.double().unbind(-1)
    usable = positions.isfinite().all(-1) & (w > 0) & (z >= -w)
    w = torch.where(usable, w, 1.0)
    column = ((x / w + 1.0) * (width * SUBPIXELS / 2)).round()
    row = ((1.0 - y / w) * (height * SUBPIXELS / 2)).round()
    usable = usable & (column.abs() <= GUARD_BAND) & (row.abs() <= GUARD_BAND)
    column, row = (torch.where(usable, value, 0.0).long() for value in (column, row))
    return Corners(column, row, torch.where(usable, z / w, 0.0), usable)


def rasterize_reference(
    positions: Tensor, triangles: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``positions (B, V, 4)``, ``triangles (T, 3)`` to triangle, barycentric, depth and dropped."""
    batch, vertices, _ = positions.shape
    triangle = torch.full((batch, height * width), -1, dtype=torch.int32, device=positions.device)
    in_range = ((triangles >= 0) & (triangles < vertices)).all(1)
    dropped = (~in_range).sum().expand(batch)
    if vertices > 0:
        corners = screen_corners(positions, height, width)
        named = triangles.long().clamp(0, vertices - 1)
        drawn = in_range & corners.usable[:, named].all(-1)
        dropped = (~drawn).sum(1)
        for b in range(batch):
            sample = Corners(*(value[b] for value in corners))
            triangle[b] = _nearest(sample, named, drawn[b], height, width)
    triangle = triangle.view(batch, height, width)
    barycentric, depth = _weights(positions, triangles, triangle)
    return triangle, barycentric, depth, dropped.to(torch.int32)


def _nearest(corners: Corners, triangles: Tensor, drawn: Tensor, height: int, width: int) -> Tensor:
    """The triangle that every pixel of one picture shows, int32 ``(H · W,)``; −1 where there is none."""
    # In ascending order of their vertices, so that triangles with the same corners have the same depth to the last bit.
    triangles = triangles.sort(1).values
    x, y, z = corners.x[triangles], corners.y[triangles], corners.z[triangles]
    following, last = [1, 2, 0], [2, 0, 1]
    # Twice the signed area; the sides that lie opposite the corners, turned so that the inside is positive.
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (y[:, 1] - y[:, 0]) * (x[:, 2] - x[:, 0])
    turn = area.sign()
    side_x = (x[:, last] - x[:, following]) * turn[:, None]
    side_y = (y[:, last] - y[:, following]) * turn[:, None]
    upper_or_left = (side_y < 0) | ((side_y == 0) & (side_x > 0))

    half = SUBPIXELS // 2
    first_x, last_x = _pixels_between(x.amin(1) - half, x.amax(1) - half, width)
    first_y, last_y = _pixels_between(y.amin(1) - half, y.amax(1) - half, height)
    columns = last_x - first_x + 1
    candidates = columns.clamp_min(0) * (last_y - first_y + 1).clamp_min(0)
    candidates = torch.where(drawn & (area != 0), candidates, 0)

    nearest = torch.full((height * width,), -1, dtype=torch.int32, device=x.device)
    nearest_depth = torch.full((height * width,), torch.inf, dtype=torch.float64, device=x.device)
    for t, rank in _chunks(candidates):
        row, column = first_y[t] + rank // columns[t], first_x[t] + rank % columns[t]
        from_x = (column * SUBPIXELS + half)[:, None] - x[t][:, following]
        from_y = (row * SUBPIXELS + half)[:, None] - y[t][:, following]
        edge = side_x[t] * from_y - side_y[t] * from_x
        inside = ((edge > 0) | ((edge == 0) & upper_or_left[t])).all(1)
        t, edge, pixel = t[inside], edge[inside].double(), (row * width + column)[inside]
        # From the first corner on, so that a triangle of one depth has exactly that everywhere.
        slope = (z[t][:, 1:] - z[t][:, :1]) * (1.0 / area[t].abs().double())[:, None]
        depth = z[t][:, 0] + (edge[:, 1] * slope[:, 0] + edge[:, 2] * slope[:, 1])
        # The nearest of this chunk, then the lowest triangle of those; against what is there it must be nearer.
        best = nearest_depth.scatter_reduce(0, pixel, depth, "amin")
        wins = (depth == best[pixel]) & (depth < nearest_depth[pixel])
        lowest = torch.full_like(nearest, torch.iinfo(torch.int32).max)
        lowest = lowest.scatter_reduce(0, pixel[wins], t[wins].int(), "amin")
        nearest = torch.where(best < nearest_depth, lowest, nearest)
        nearest_depth = best
    return nearest


def _pixels_between(low: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The first and the last pixel of ``size`` whose centre, less half a pixel, lies in [low, high] sub-pixels."""
    first = torch.div(low + SUBPIXELS - 1, SUBPIXELS, rounding_mode="floor").clamp(0, size)
    last = torch.div(high, SUBPIXELS, rounding_mode="floor").clamp(-1, size - 1)
    return first, last


def _chunks(candidates: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (triangle, number of the pixel within its bounding box), in order, about ``_CANDIDATES`` at a time."""
    ends = candidates.cumsum(0)
    begin = 0
    while begin < len(candidates):
        before = int(ends[begin - 1]) if begin else 0
        end = max(int(torch.searchsorted(ends, before + _CANDIDATES, right=True)), begin + 1)
        counts = candidates[begin:end]
        triangle = torch.arange(begin, begin + len(counts), device=counts.device).repeat_interleave(counts)
        if len(triangle):
            first = ends[begin:end] - counts - before
            yield triangle, torch.arange(len(triangle), device=counts.device) - first.repeat_interleave(counts)
        begin = end


class _Hit(NamedTuple):
    """The triangle behind every pixel, in homogeneous coordinates. Tensors ``(B, H, W, 3)``, one entry a corner.

    ``from_x``, ``from_y`` lead from the pixel's centre to the corners, times their w; ``areas`` are the weights before
    they are made to sum to one by ``total (B, H, W, 1)``.
    """

    hit: Tensor  # bool (B, H, W): any triangle
    vertex: Tensor  # int64, index into positions.flatten(0, 1)
    z: Tensor
    w: Tensor
    pixel_x: Tensor
    pixel_y: Tensor
    from_x: Tensor
    from_y: Tensor
    areas: Tensor
    total: Tensor


def _following(value: Tensor) -> Tensor:
    return value[..., [1, 2, 0]]


def _last(value: Tensor) -> Tensor:
    return value[..., [2, 0, 1]]


def corner_rows(triangle: Tensor, triangles: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
    """``(hit, vertex)``: where there is a triangle, and its corners as rows of ``(B · V, …)``; row 0 elsewhere."""
    batch = torch.arange(triangle.shape[0], device=triangle.device).view(-1, 1, 1, 1)
    hit = triangle >= 0
    vertex = triangles.long()[triangle.long().clamp_min(0)] + batch * vertices
    return hit, torch.where(hit[..., None], vertex, 0)


def _look_up(positions: Tensor, triangles: Tensor, triangle: Tensor) -> _Hit:
    _, height, width = triangle.shape
    hit, vertex = corner_rows(triangle, triangles, positions.shape[1])
    x, y, z, w = positions.flatten(0, 1)[vertex].double().unbind(-1)
    columns, rows = (torch.arange(size, dtype=torch.float64, device=x.device) for size in (width, height))
    pixel_x = ((2 * columns + 1) / width - 1).view(1, 1, width, 1)
    pixel_y = (1 - (2 * rows + 1) / height).view(1, height, 1, 1)
    from_x, from_y = x - pixel_x * w, y - pixel_y * w
    areas = _following(from_x) * _last(from_y) - _following(from_y) * _last(from_x)
    return _Hit(hit, vertex, z, w, pixel_x, pixel_y, from_x, from_y, areas, areas.sum(-1, keepdim=True))


def _clamped(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Weights that are none below 0, and where ``raw`` has a derivative worth the name; both ``(B, H, W, 3)``.

    A pixel lies outside the triangle that it shows by no more than the snapping, so a negative weight is small, unless
    the triangle is thinner than a sub-pixel.
    """
    sound = (raw > -1).all(-1, keepdim=True)  # false for NaN
    positive = torch.where(sound, raw, 1.0).clamp_min(0)
    return positive / positive.sum(-1, keepdim=True), sound


def _weights(positions: Tensor, triangles: Tensor, triangle: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric ``(B, H, W, 2)`` and depth ``(B, H, W)`` of the triangle that every pixel shows."""
    if triangles.shape[0] == 0 or positions.shape[1] == 0:
        return positions.new_zeros((*triangle.shape, 2)), positions.new_zeros(triangle.shape)
    found = _look_up(positions, triangles, triangle)
    weights, _ = _clamped(found.areas / found.total)
    depth = (weights * found.z).sum(-1) / (weights * found.w).sum(-1)
    weights, depth = weights[..., :2].to(positions.dtype), depth.to(positions.dtype)
    return torch.where(found.hit[..., None], weights, 0.0), torch.where(found.hit, depth, 0.0)


def rasterize_backward_reference(
    grad_barycentric: Tensor | None, grad_depth: Tensor | None, positions: Tensor, triangles: Tensor, triangle: Tensor
) -> Tensor:
    """Gradient of positions, for a fixed choice of the triangle behind every pixel."""
    if triangles.shape[0] == 0 or positions.shape[1] == 0:
        return torch.zeros_like(positions)
    found = _look_up(positions, triangles, triangle)
    raw = found.areas / found.total
    weights, sound = _clamped(raw)
    grad_weights = torch.zeros_like(weights)
    grad_z, grad_w = torch.zeros_like(weights), torch.zeros_like(weights)
    if grad_barycentric is not None:
        grad_weights[..., :2] = grad_barycentric
    if grad_depth is not None:  # depth = Σ weight z / Σ weight w
        w = (weights * found.w).sum(-1, keepdim=True)
        depth = (weights * found.z).sum(-1, keepdim=True) / w
        scaled = grad_depth[..., None] / w
        grad_z, grad_w = scaled * weights, -scaled * weights * depth
        grad_weights = grad_weights + scaled * (found.z - depth * found.w)
    # weight = area / total
    grad_areas = (grad_weights - (grad_weights * raw).sum(-1, keepdim=True)) / found.total
    grad_areas = torch.where(sound, grad_areas, 0.0)
    # area of a corner = cross product of what leads from the pixel to the two others
    before, after = _last(grad_areas), _following(grad_areas)
    grad_from_x = before * _following(found.from_y) - after * _last(found.from_y)
    grad_from_y = after * _last(found.from_x) - before * _following(found.from_x)
    grad_w = grad_w - found.pixel_x * grad_from_x - found.pixel_y * grad_from_y
    gradient = torch.stack((grad_from_x, grad_from_y, grad_z, grad_w), -1)
    gradient = torch.where(found.hit[..., None, None], gradient, 0.0).to(positions.dtype)
    rows = positions.shape[0] * positions.shape[1]
    return sum_rows(gradient.flatten(0, 3), found.vertex.flatten(), rows).view(positions.shape)


def interpolate_reference(attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor) -> Tensor:
    """``attributes (B or 1, V, C)`` to ``(B, H, W, C)``; 0 where there is no triangle."""
    if triangles.shape[0] == 0 or attributes.shape[1] == 0:
        return attributes.new_zeros((*triangle.shape, attributes.shape[2]))
    every = attributes.expand(triangle.shape[0], -1, -1)
    hit, vertex = corner_rows(triangle, triangles, every.shape[1])
    weights = torch.cat((barycentric, 1 - barycentric.sum(-1, keepdim=True)), -1)
    mixed = (weights[..., None] * every.flatten(0, 1)[vertex]).sum(-2)
    return torch.where(hit[..., None], mixed, 0.0)


def interpolate_backward_reference(
    gradient: Tensor, attributes: Tensor, triangle: Tensor, barycentric: Tensor, triangles: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of attributes and barycentric, for a fixed choice of the triangle behind every pixel."""
    if triangles.shape[0] == 0 or attributes.shape[1] == 0:
        return torch.zeros_like(attributes), torch.zeros_like(barycentric)
    batch, (shared, vertices, channels) = triangle.shape[0], attributes.shape
    hit, vertex = corner_rows(triangle, triangles, vertices)
    weights = torch.cat((barycentric, 1 - barycentric.sum(-1, keepdim=True)), -1)
    weights, gradient = torch.where(hit[..., None], weights, 0.0), torch.where(hit[..., None], gradient, 0.0)
    corners = attributes.expand(batch, -1, -1).flatten(0, 1)[vertex]
    grad_barycentric = (gradient[..., None, :] * (corners[..., :2, :] - corners[..., 2:, :])).sum(-1)
    grad_corners = weights[..., None] * gradient[..., None, :]
    summed = sum_rows(grad_corners.view(-1, channels), vertex.flatten(), batch * vertices)
    summed = summed.view(batch, vertices, channels)
    return summed.sum(0, keepdim=True) if shared == 1 else summed, grad_barycentric


def sum_rows(values: Tensor, rows: Tensor, size: int) -> Tensor:
    """``out[r]`` = sum of the ``values (N, C)`` whose row is r, in ascending order of N."""
    result = values.new_zeros((size, values.shape[1]))
    if values.device.type == "cpu":
        return result.index_add_(0, rows, values)
    return result.index_put_((rows,), values, accumulate=True)  # on a GPU this one sorts, and adds in order
