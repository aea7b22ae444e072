"""Meshes to rasterise, and which pixels they cover by exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor

from gptface.diagnosis.meshes import random_mesh, sphere

__all__ = ["covered_exactly", "random_mesh", "snapped_exactly", "sphere"]

SUBPIXELS = 4096


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
