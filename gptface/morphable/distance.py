"""How far apart heads are: millimetres between their aligned vertices, degrees between their poses."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.model import MorphableModel
from gptface.morphable.parameters import FaceParameters
from gptface.morphable.rotation import matrix_to_angles, rotation_6d_to_matrix

__all__ = ["aligned", "angle_errors", "vertex_distances"]

REGION = "face"
"""What is measured where a model has such a region: no ears, neck, teeth or eyeballs."""
HEADS_AT_ONCE = 64


def aligned(points: Tensor, target: Tensor, *, scale: bool = False) -> Tensor:
    """``points (B, N, 3)`` turned and moved as near to ``target (B, N, 3)`` as least squares allow.

    Kabsch's algorithm; a reflection is never taken. With ``scale``, sizes are made equal as well (Umeyama, 1991).
    """
    if points.shape != target.shape or points.ndim != 3 or points.shape[-1] != 3:
        raise InputError(f"points {tuple(points.shape)} and target {tuple(target.shape)} must both be (batch, N, 3)")
    middle = points.mean(1, keepdim=True)
    goal = target.mean(1, keepdim=True)
    u, spread, v = torch.linalg.svd(((points - middle).mT @ (target - goal)).double())
    sign = torch.ones_like(u[:, 0])
    sign[:, 2] = torch.linalg.det(u @ v).sign()
    turn = u * sign[:, None] @ v
    if scale:
        own = (points - middle).double().square().sum((1, 2)).clamp_min(torch.finfo(torch.float64).tiny)
        turn = turn * ((spread * sign).sum(1) / own)[:, None, None]
    return (points - middle) @ turn.to(points) + goal


@torch.no_grad()
def vertex_distances(
    model: MorphableModel,
    found: FaceParameters,
    truth: FaceParameters,
    *,
    region: str | None = None,
    expression: bool = True,
    scale: bool = False,
) -> Tensor:
    """Mean distance of corresponding vertices after alignment, ``(B,)`` millimetres.

    Args:
        model: of both.
        found, truth: parameters of ``B`` heads each; a field of one head goes with all. Pose plays no part.
        region: of the model; by default ``"face"`` where it has one, else all that is drawn.
        expression: ``False`` compares the heads at rest: their identities alone.
        scale: heads are made of one size as well. From one picture, size can hardly be told from distance.

    Raises:
        InputError: the model has no such region.
    """
    rows = _rows(model, region)
    names = ("identity", "expression") if expression else ("identity",)
    batch = max(len(getattr(each, name)) for each in (found, truth) for name in names)
    mean = model.mean[rows]
    bases = {name: getattr(model, f"{name}_basis")[:, rows].flatten(1) for name in names}

    def vertices(parameters: FaceParameters, part: slice) -> Tensor:
        points = mean.flatten()[None]
        for name, basis in bases.items():
            weights: Tensor = getattr(parameters, name)
            own = weights if len(weights) == 1 else weights[part]
            points = points + own.to(basis) @ basis[: own.shape[1]]
        return points.view(-1, len(rows), 3)

    distances = []
    for start in range(0, batch, HEADS_AT_ONCE):
        part = slice(start, start + HEADS_AT_ONCE)
        first, second = torch.broadcast_tensors(vertices(found, part), vertices(truth, part))
        distances.append((aligned(first, second, scale=scale) - second).norm(dim=-1).mean(1))
    return 10 * torch.cat(distances).expand(batch)


def angle_errors(found: FaceParameters, truth: FaceParameters) -> Tensor:
    """Absolute differences of yaw, pitch and roll, ``(B, 3)`` degrees."""
    angles = [torch.stack(matrix_to_angles(rotation_6d_to_matrix(each.rotation)), -1) for each in (found, truth)]
    difference = angles[0] - angles[1]
    return (torch.remainder(difference + 180, 360) - 180).abs()


def _rows(model: MorphableModel, region: str | None) -> Tensor:
    if region is None and REGION not in model.regions:
        return model.triangles.unique().long() if model.triangles.numel() else torch.arange(model.vertex_count)
    name = REGION if region is None else region
    if name not in model.regions:
        raise InputError(f"{model.name} has no region {name!r}; it has {', '.join(model.regions) or 'none'}")
    return model.regions[name]
