"""Normals of vertices, and triangles turned so that they are seen from outside."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["facing_outward", "vertex_normals"]


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Unit normals ``(B, V, 3)`` of vertices ``(B, V, 3)``, means over the triangles around weighted by their areas.

    Differentiable. A vertex of no triangle, or of triangles without area, gets a normal of zero.
    """
    index = triangles.to(torch.long)
    first, second, third = (vertices[:, index[:, corner]] for corner in range(3))
    areas = torch.linalg.cross(second - first, third - first)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals = normals.index_add(1, index[:, corner], areas)
    return torch.nn.functional.normalize(normals, dim=-1, eps=1e-12)


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
