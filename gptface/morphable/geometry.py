"""Normals of vertices, and triangles turned so that they are seen from outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["facing_outward", "vertex_normals"]


class _SummedAreas(torch.autograd.Function):
    """For every vertex, the sum of the area vectors of the triangles around it: ``(V, 3, B)`` of ``(V, 3, B)``.

    With the batch last, whatever is gathered or summed is a row of contiguous numbers, and sums are over lists of
    corners sorted by vertex: some five times as fast on a CPU as scattering triangle by triangle, and always the same
    bits.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, triangles: Tensor) -> Tensor:
        corners = triangles.t().flatten()
        order = corners.argsort(stable=True)
        counts = torch.zeros(len(points), dtype=torch.long, device=points.device)
        counts = counts.index_add(0, corners, torch.ones_like(corners))
        starts = counts.cumsum(0) - counts
        one, other = _sides(points, triangles)
        ctx.save_for_backward(points, triangles, order, starts)
        return _summed(_cross(one, other), order % max(1, len(triangles)), starts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        points, triangles, order, starts = ctx.saved_tensors
        (gradient,) = gradients
        first, second, third = (gradient.index_select(0, triangles[:, corner]) for corner in range(3))
        of_area = first + second + third
        one, other = _sides(points, triangles)
        of_one, of_other = _cross(other, of_area), _cross(of_area, one)
        return _summed(torch.cat((-of_one - of_other, of_one, of_other)), order, starts), None


def _sides(points: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Two sides of every triangle, from its first corner: ``(T, 3, B)`` each."""
    first, second, third = (points.index_select(0, triangles[:, corner]) for corner in range(3))
    return second - first, third - first


def _cross(one: Tensor, other: Tensor) -> Tensor:
    """Cross products along the middle dimension."""
    x, y, z = one.unbind(1)
    u, v, w = other.unbind(1)
    return torch.stack((y * w - z * v, z * u - x * w, x * v - y * u), 1)


def _summed(rows: Tensor, order: Tensor, starts: Tensor) -> Tensor:
    """Sums ``(V, 3, B)`` of ``rows[order[starts[v] : starts[v + 1]]]``."""
    total = functional.embedding_bag(order, rows.flatten(1), starts, mode="sum")
    return total.view(len(starts), *rows.shape[1:])


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Unit normals ``(B, V, 3)`` of vertices ``(B, V, 3)``, means over the triangles around weighted by their areas.

    Differentiable once. A vertex of no triangle, or of triangles without area, gets a normal of zero.
    """
    if not triangles.shape[0]:
        return torch.zeros_like(vertices)
    areas = _SummedAreas.apply(vertices.permute(1, 2, 0).contiguous(), triangles.to(torch.long))
    # What functional.normalize does, which takes ten times as long along a dimension that is not the last.
    x, y, z = areas.unbind(1)
    length = (x * x + y * y + z * z).clamp_min(1e-24).sqrt()
    return torch.stack((x / length, y / length, z / length), 1).permute(2, 0, 1).contiguous()


def facing_outward(vertices: Tensor, triangles: Tensor) -> Tensor:
    """The triangles ``(T, 3)``, all turned round if most of their area looks towards the middle of the mesh.

    Files disagree on which side is the outer one; a head or a face mask is round enough to tell.
    """
    index = triangles.to(torch.long)
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= len(vertices)):
        return triangles  # the model's own check names the index
    first, second, third = (vertices[index[:, corner]] for corner in range(3))
    areas = torch.linalg.cross(second - first, third - first)
    # The middle of a mask lies in front of the middle of its head: look from further back.
    middle = vertices.mean(0) - torch.tensor([0.0, 0.0, 0.5]) * (vertices[:, 2].max() - vertices[:, 2].min())
    outward = (areas * ((first + second + third) / 3 - middle)).sum()
    return triangles if outward >= 0 else triangles.flip(1)
