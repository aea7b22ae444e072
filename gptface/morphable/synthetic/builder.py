"""Vertices and triangles of a mesh as its parts are added one after the other."""

from __future__ import annotations

import numpy as np

__all__ = ["Builder"]


class Builder:
    """Vertices and triangles as they are added, and the values that go with each vertex."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []
        self.triangles: list[np.ndarray] = []
        self.values: list[dict[str, np.ndarray]] = []
        self.count = 0

    def add(self, points: np.ndarray, **values: np.ndarray | float) -> np.ndarray:
        """Add ``(N, 3)`` points; returns their indices."""
        indices = np.arange(self.count, self.count + len(points))
        self.points.append(points)
        self.values.append({name: np.broadcast_to(value, len(points)).astype(float) for name, value in values.items()})
        self.count += len(points)
        return indices

    def band(self, outer: np.ndarray, inner: np.ndarray) -> None:
        """Join two loops of as many vertices; counter-clockwise loops give triangles that face the viewer."""
        next_outer, next_inner = np.roll(outer, -1), np.roll(inner, -1)
        self.triangles.append(np.stack((outer, next_outer, inner), 1))
        self.triangles.append(np.stack((next_outer, next_inner, inner), 1))

    def fan(self, loop: np.ndarray, tip: int) -> None:
        """Close a loop towards one vertex."""
        self.triangles.append(np.stack((loop, np.roll(loop, -1), np.full(len(loop), tip)), 1))

    def value(self, name: str) -> np.ndarray:
        return np.concatenate(
            [values.get(name, np.zeros(len(points))) for points, values in zip(self.points, self.values, strict=True)]
        )
