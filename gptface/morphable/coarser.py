"""A morphable model with fewer vertices, for pictures of few pixels: the same modes, a fraction of the work."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.model import MorphableModel

__all__ = ["coarser"]


def coarser(model: MorphableModel, spacing: float) -> MorphableModel:
    """The same model on a subset of its vertices, about ``spacing`` apart, joined anew.

    Vertices are taken one after another that lie at least ``spacing`` along the mesh from all taken before (landmarks
    and named points first: all of them stay); every other vertex belongs to the nearest of these, along the mesh, so
    that lips and lids that touch are not sewn together. Triangles whose corners belong to three different ones join
    them. What is kept is bit for bit as it was: shapes, colours, landmarks.

    Args:
        model: any.
        spacing: centimetres; 0 gives the model itself.

    Raises:
        InputError: a spacing below 0, or not finite.
    """
    if not 0 <= spacing < math.inf:
        raise InputError(f"spacing: {spacing!r} centimetres; it must be 0 or more")
    if spacing == 0 or not model.triangles.numel():
        return model
    points = model.mean.cpu().double().numpy()
    triangles = model.triangles.cpu().long().numpy()
    start, others, lengths = _edges(points, triangles)
    kept_first = torch.cat((model.landmark_vertices.flatten().cpu(), torch.tensor(list(model.points.values())).long()))
    used = np.zeros(len(points), dtype=bool)
    used[triangles] = True
    order = [*dict.fromkeys(kept_first.tolist()), *np.flatnonzero(used).tolist()]
    owner = _owners(order, len(set(kept_first.tolist())), start, others, lengths, spacing)
    joined = owner[triangles]
    whole = (joined[:, 0] != joined[:, 1]) & (joined[:, 1] != joined[:, 2]) & (joined[:, 0] != joined[:, 2])
    joined = joined[whole & (joined >= 0).all(1)]
    # The same three in the same sense, whichever comes first, are one triangle.
    turned = np.stack([np.roll(row, -int(row.argmin())) for row in joined]) if len(joined) else joined
    joined = np.unique(turned, axis=0)
    rows = np.union1d(np.unique(joined), np.unique(kept_first.numpy())).astype(np.int64)
    place = np.full(len(points), -1)
    place[rows] = np.arange(len(rows))
    kept = torch.from_numpy(rows).to(model.mean.device)

    def moved(index: Tensor) -> Tensor:
        return torch.from_numpy(place[index.cpu().numpy()])

    regions = {name: moved(index) for name, index in model.regions.items()}
    found = MorphableModel(
        model.mean[kept].cpu(),
        torch.from_numpy(place[joined]),
        identity_basis=model.identity_basis[:, kept].cpu(),
        expression_basis=model.expression_basis[:, kept].cpu(),
        albedo_mean=model.albedo_mean[kept].cpu(),
        albedo_basis=model.albedo_basis[:, kept].cpu(),
        identity_names=model.identity_names,
        expression_names=model.expression_names,
        albedo_names=model.albedo_names,
        landmarks=moved(model.landmark_vertices),
        landmark_weights=model.landmark_weights.cpu(),
        points={name: int(place[vertex]) for name, vertex in model.points.items()},
        regions={name: index[index >= 0] for name, index in regions.items()},
        expression_kind=model.expression_kind,
        name=f"{model.name}, {spacing:g} cm apart",
    )
    found.centre.copy_(model.centre)  # heads turn about the same point
    return found.to(model.mean.device)


def _edges(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours of vertex v: ``others[start[v] : start[v + 1]]``, and how far each is."""
    pairs = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))])
    pairs = np.unique(pairs, axis=0)
    start = np.searchsorted(pairs[:, 0], np.arange(len(points) + 1))
    return start, pairs[:, 1], np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)


def _owners(
    order: list[int], forced: int, start: np.ndarray, others: np.ndarray, lengths: np.ndarray, spacing: float
) -> np.ndarray:
    """Which kept vertex every vertex belongs to: int64 ``(V,)``, −1 for those of no triangle.

    ``order`` is the order in which vertices are taken, the first ``forced`` of them whatever lies near.
    """
    count = len(start) - 1
    owner, distance = np.full(count, -1), np.full(count, np.inf)
    starts, neighbours, steps = start.tolist(), others.tolist(), lengths.tolist()
    for number, seed in enumerate(order):
        if number >= forced and distance[seed] < spacing:
            continue
        owner[seed], distance[seed] = seed, 0.0
        queue = deque([seed])
        while queue:
            vertex = queue.popleft()
            near = distance[vertex]
            for edge in range(starts[vertex], starts[vertex + 1]):
                far, other = near + steps[edge], neighbours[edge]
                if far < spacing and far < distance[other]:
                    owner[other], distance[other] = seed, far
                    queue.append(other)
    return owner
