"""Meshes to rasterise, and which pixels they cover by exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

__all__ = ["covered_exactly", "random_mesh", "snapped_exactly", "sphere"]

SUBPIXELS = 4096


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


def snapped_exactly(position: Tensor, height: int, width: int) -> tuple[Fraction, Fraction]:
    """Where a vertex ``(4,)`` is snapped to, in pixels from the upper left corner. Python rounds halves to even."""
    x, y, _, w = (Fraction(value) for value in position.tolist())
    column = round((x / w + 1) * width / 2 * SUBPIXELS)
    row = round((1 - y / w) * height / 2 * SUBPIXELS)
    return Fraction(column, SUBPIXELS), Fraction(row, SUBPIXELS)


def covered_exactly(positions: Tensor, triangle: list[int], height: int, width: int) -> set[tuple[int, int]]:
    """(row, column) of the pixels that a triangle of ``positions (V, 4)`` covers, by the top-left rule."""
    corners = [snapped_exactly(positions[vertex], height, width) for vertex in triangle]
    (ax, ay), (bx, by), (cx, cy) = corners
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if area == 0:
        return set()
    if area < 0:
        corners.reverse()
    # Clockwise on the screen, whose y points down: an upper edge runs to the right, a left edge runs up.
    edges = [(corners[i], corners[(i + 1) % 3]) for i in range(3)]
    found = set()
    for row in range(height):
        for column in range(width):
            x, y = column + Fraction(1, 2), row + Fraction(1, 2)
            for (px, py), (qx, qy) in edges:
                side = (qx - px) * (y - py) - (qy - py) * (x - px)
                upper_or_left = qy < py or (qy == py and qx > px)
                if side < 0 or (side == 0 and not upper_or_left):
                    break
            else:
                found.add((row, column))
    return found
