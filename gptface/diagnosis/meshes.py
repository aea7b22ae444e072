"""Meshes to rasterise, hard ones: crumpled, in perspective, with triangles of no area."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["random_mesh", "sphere"]


def sphere(rings: int, sectors: int) -> tuple[Tensor, Tensor]:
    """Unit sphere: vertices float64 ``(V, 3)``, triangles int32 ``(2 · rings · sectors, 3)``, at the poles without
    area."""
    polar = torch.linspace(0, torch.pi, rings + 1, dtype=torch.float64)[:, None]
    around = torch.arange(sectors, dtype=torch.float64)[None] * (2 * torch.pi / sectors)
    parts = (polar.sin() * around.cos(), polar.cos().expand(-1, sectors), polar.sin() * around.sin())
    ring, sector = torch.arange(rings)[:, None], torch.arange(sectors)[None]
    a, b = ring * sectors + sector, ring * sectors + (sector + 1) % sectors
    corners = torch.stack((torch.stack((a, a + sectors, b), -1), torch.stack((b, a + sectors, b + sectors), -1)))
    return torch.stack(parts, -1).reshape(-1, 3), corners.reshape(-1, 3).int()


def random_mesh(
    batch: int, *, seed: int, rings: int = 9, sectors: int = 11, noise: float = 0.02
) -> tuple[Tensor, Tensor]:
    """Crumpled spheres in perspective: positions float32 ``(B, V, 4)`` in clip space, and triangles."""
    vertices, triangles = sphere(rings, sectors)
    generator = torch.Generator().manual_seed(seed)
    crumpled = vertices + noise * torch.randn(batch, *vertices.shape, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(batch, 3, 3, generator=generator, dtype=torch.float64))
    crumpled = crumpled @ turn
    w = 1.6 + 0.4 * crumpled[..., 2:]
    return torch.cat((1.3 * crumpled[..., :2], crumpled[..., 2:], w), -1).float(), triangles
