"""Antialiasing of silhouettes written like its definition, in plain PyTorch.

After Laine et al., "Modular Primitives for High-Performance Differentiable Rendering" (2020), section 3.4, with one
difference: from the triangle of a pixel the way to its neighbour is followed over shared edges, so the silhouette is
found also where the triangles at it are smaller than pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gptface.ops.raster.reference import sum_rows

__all__ = ["antialias_backward_reference", "antialias_reference", "neighbours_reference"]

# Triangles between two pixels' centres, behind more of which no silhouette is looked for: at the rim of a fine mesh,
# where one sees along the surface, there are dozens.
_MOST_STEPS = 64


def neighbours_reference(triangles: Tensor, vertices: int) -> Tensor:
    """int32 ``(T, 3)``: the triangle beyond the edge opposite each corner.

    −1 where an edge belongs to this triangle alone, or to more than two.
    """
    if triangles.shape[0] == 0:
        return triangles.new_zeros((0, 3), dtype=torch.int32)
    corners = triangles.long()
    begin, end = corners[:, [1, 2, 0]].flatten(), corners[:, [2, 0, 1]].flatten()
    key, order = (torch.minimum(begin, end) * vertices + torch.maximum(begin, end)).sort(stable=True)
    same = torch.nn.functional.pad(key[1:] == key[:-1], (1, 1))  # as the one before; first and last: no
    before, after = same[:-1], same[1:]
    # Twice in a row and no more: the first of the pair has an equal one after it, and that one has none.
    ends = torch.nn.functional.pad(after, (0, 1))[1:]
    starts = after & ~before & ~ends
    first = torch.where(starts, order, -1)
    second = torch.roll(torch.where(torch.roll(starts, 1), order, -1), -1)
    found = torch.full((len(key) + 1,), -1, dtype=torch.int64, device=triangles.device)
    dump = len(key)
    found[torch.where(starts, first, dump)] = torch.where(starts, second // 3, -1)
    found[torch.where(starts, second, dump)] = torch.where(starts, first // 3, -1)
    return found[:dump].view(-1, 3).int()


class _Crossings(NamedTuple):
    """Pairs of neighbouring pixels between which a silhouette passes.

    ``near`` and ``far`` are pixels of the flattened batch, ``near`` that of the surface in front; ``alpha`` is how much
    of the way from one centre to the other lies on that surface. ``begin`` and ``end`` are the vertices of the
    silhouette's edge in ``positions.flatten(0, 1)``.
    """

    near: Tensor
    far: Tensor
    alpha: Tensor
    begin: Tensor
    end: Tensor
    near_centre: Tensor  # (N, 2), x and y
    far_centre: Tensor


def _pairs(triangle: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``(near, far, beside)`` of all neighbouring pixels that show different triangles; ``beside``: in one row."""
    number = torch.arange(triangle.numel(), device=triangle.device).view(triangle.shape)
    near, far, beside = [], [], []
    for dim in (2, 1):
        size = triangle.shape[dim]
        one, other = (
            [tensor.narrow(dim, start, size - 1) for tensor in (triangle, depth, number)] for start in (0, 1)
        )
        differ = one[0] != other[0]
        first = (one[0] >= 0) & ((other[0] < 0) | (one[1] <= other[1]))
        near.append(torch.where(first, one[2], other[2])[differ])
        far.append(torch.where(first, other[2], one[2])[differ])
        beside.append(torch.full_like(near[-1], dim == 2, dtype=torch.bool))
    return torch.cat(near), torch.cat(far), torch.cat(beside)


def _cross(from_x: Tensor, from_y: Tensor) -> Tensor:
    """``(N, 3)``: cross product of what leads to the ends of the side opposite each corner."""
    following, last = [1, 2, 0], [2, 0, 1]
    return from_x[:, following] * from_y[:, last] - from_y[:, following] * from_x[:, last]


def _crossings(triangle: Tensor, depth: Tensor, positions: Tensor, triangles: Tensor, neighbours: Tensor) -> _Crossings:
    _, height, width = triangle.shape
    vertices = positions.shape[1]
    near, far, beside = _pairs(triangle, depth)
    places = positions.flatten(0, 1).double()
    usable = (places.isfinite().all(-1) & (places[:, 3] > 0)).view(positions.shape[:2])

    def centre(pixel: Tensor) -> Tensor:
        column, row = pixel % width, pixel // width % height
        return torch.stack(((2 * column + 1).double() / width - 1, 1 - (2 * row + 1).double() / height), -1)

    batch = near // (height * width)
    shown, behind = triangle.flatten()[near].long(), triangle.flatten()[far].long()
    walker = torch.arange(len(near), device=near.device)
    entered = torch.full_like(near, -1)  # the side by which the triangle was entered
    found: list[tuple[Tensor, ...]] = []
    for _ in range(_MOST_STEPS):
        if len(walker) == 0:
            break
        b, from_centre, to_centre = batch[walker], centre(near[walker]), centre(far[walker])
        corner = triangles[shown].long() + (b * vertices)[:, None]
        x, y, _, w = places[corner].unbind(-1)
        at_near = _cross(x - from_centre[:, :1] * w, y - from_centre[:, 1:] * w)
        at_far = _cross(x - to_centre[:, :1] * w, y - to_centre[:, 1:] * w)
        turn = (at_near * w).sum(-1, keepdim=True).sign()
        at_near, at_far = at_near * turn, at_far * turn
        leaves = (at_far < 0) & (at_near > at_far) & (turn != 0)
        leaves &= torch.arange(3, device=near.device) != entered[:, None]
        alpha = torch.where(leaves, at_near / (at_near - at_far), torch.inf)
        alpha, side = alpha.min(1)
        row = torch.arange(len(walker), device=near.device)
        begin, end = corner[row, (side + 1) % 3], corner[row, (side + 2) % 3]
        beyond = neighbours[shown, side].long()
        # The corner of the triangle beyond that is not on the edge, and on which side of it it lies.
        named = triangles[beyond.clamp_min(0)].long() + (b * vertices)[:, None]
        apex_side = ((named != begin[:, None]) & (named != end[:, None])).int().argmax(1)
        apex = named[row, apex_side]
        edge_x, edge_y, edge_w = (places[torch.stack((begin, end, apex), 1)][..., k] for k in (0, 1, 3))
        apex_area = (_cross(edge_x, edge_y) * edge_w).sum(-1) * turn[:, 0]
        drawn = usable.view(-1)[named].all(-1)
        ends_here = (beyond < 0) | ~drawn | (apex_area >= 0)
        left = alpha < torch.inf
        stop = left & ends_here
        found.append((walker[stop], alpha[stop], begin[stop], end[stop]))
        go = left & ~ends_here & (beyond != behind[walker])
        walker, shown, entered = walker[go], beyond[go], apex_side[go]
    which, alpha, begin, end = (torch.cat(parts) for parts in zip(*found, strict=True)) if found else (near,) * 4
    # A steep edge counts between pixels of a row, a flat one between those of a column: once, and where it says most.
    x, y = (places[:, k] / places[:, 3] * size for k, size in ((0, width), (1, height)))
    steep = (y[end] - y[begin]).abs() >= (x[end] - x[begin]).abs()
    order = which.argsort()  # each pair is found once; sums go in the order of pairs
    order = order[(steep == beside[which])[order]]
    which = which[order]
    return _Crossings(
        near[which], far[which], alpha[order].double().clamp(0, 1), begin[order], end[order], centre(near[which]),
        centre(far[which]),
    )  # fmt: skip


def antialias_reference(
    colour: Tensor, triangle: Tensor, depth: Tensor, positions: Tensor, triangles: Tensor, neighbours: Tensor
) -> Tensor:
    """``colour (B, H, W, C)`` blended across silhouettes.

    The colours of two pixels meet where the silhouette passes: the surface in front ends before the middle, and its own
    pixel gets as much of the other's colour as lies between; or behind it, and the other way round.
    """
    if triangles.shape[0] == 0 or triangle.numel() == 0:
        return colour.clone()
    found = _crossings(triangle, depth, positions, triangles, neighbours)
    flat = colour.flatten(0, 2)
    before_middle = found.alpha < 0.5
    target = torch.where(before_middle, found.near, found.far)
    share = (found.alpha - 0.5).to(colour.dtype)[:, None]
    added = share * (flat[found.near] - flat[found.far])
    return (flat + sum_rows(added, target, len(flat))).view(colour.shape)


def antialias_backward_reference(
    gradient: Tensor,
    colour: Tensor,
    triangle: Tensor,
    depth: Tensor,
    positions: Tensor,
    triangles: Tensor,
    neighbours: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of colour and positions, for a fixed choice of the edges."""
    if triangles.shape[0] == 0 or triangle.numel() == 0:
        return gradient.clone(), torch.zeros_like(positions)
    found = _crossings(triangle, depth, positions, triangles, neighbours)
    flat, grad = (tensor.flatten(0, 2) for tensor in (colour, gradient))
    target = torch.where(found.alpha < 0.5, found.near, found.far)
    share = (found.alpha - 0.5).to(colour.dtype)[:, None]
    passed = share * grad[target]
    ends = torch.stack((found.near, found.far), 1).flatten()
    grad_colour = grad + sum_rows(torch.stack((passed, -passed), 1).flatten(0, 1), ends, len(grad))

    grad_alpha = ((flat[found.near] - flat[found.far]).double() * grad[target]).sum(-1)
    grad_alpha = torch.where((found.alpha > 0) & (found.alpha < 1), grad_alpha, 0.0)
    places = positions.flatten(0, 1).double()
    edge = places[torch.stack((found.begin, found.end), 1)]  # (N, 2 ends, 4)
    at = []
    for centre in (found.near_centre, found.far_centre):
        to_x = edge[..., 0] - centre[:, :1] * edge[..., 3]
        to_y = edge[..., 1] - centre[:, 1:] * edge[..., 3]
        at.append((to_x[:, 0] * to_y[:, 1] - to_y[:, 0] * to_x[:, 1], to_x, to_y, centre))
    near_area, far_area = at[0][0], at[1][0]
    whole = near_area - far_area  # alpha = near area / whole
    scale = grad_alpha / whole.square()
    grad_edge = torch.zeros_like(edge)
    for (_, to_x, to_y, centre), weight in zip(at, (-far_area * scale, near_area * scale), strict=True):
        grad_x = torch.stack((to_y[:, 1], -to_y[:, 0]), 1) * weight[:, None]
        grad_y = torch.stack((-to_x[:, 1], to_x[:, 0]), 1) * weight[:, None]
        grad_edge[..., 0] += grad_x
        grad_edge[..., 1] += grad_y
        grad_edge[..., 3] -= centre[:, :1] * grad_x + centre[:, 1:] * grad_y
    grad_edge = torch.where((grad_alpha != 0)[:, None, None], grad_edge, 0.0).to(positions.dtype)
    rows = torch.stack((found.begin, found.end), 1).flatten()
    summed = sum_rows(grad_edge.flatten(0, 1), rows, len(places))
    return grad_colour.view(colour.shape), summed.view(positions.shape)
