"""Rotations without singularities: six numbers that every network can regress, and angles for people."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.precision import without_autocast

__all__ = ["IDENTITY_6D", "angles_to_matrix", "matrix_to_angles", "matrix_to_rotation_6d", "rotation_6d_to_matrix"]

IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""No rotation."""


def rotation_6d_to_matrix(rotation: Tensor) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` of six numbers ``(..., 6)``: two rows, made orthonormal, and their product.

    Every rotation is reached, nearby rotations by nearby numbers, and the scale of the numbers does not matter
    (Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", 2019). Rows of length zero or
    parallel rows have no direction: the result is finite, but no rotation.
    """
    if rotation.shape[-1] != 6:
        raise InputError(f"rotation has the shape {tuple(rotation.shape)}; its last dimension must be 6")
    first = torch.nn.functional.normalize(rotation[..., :3], dim=-1)
    second = rotation[..., 3:]
    second = torch.nn.functional.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack((first, second, torch.linalg.cross(first, second)), dim=-2)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """The six numbers ``(..., 6)`` of rotation matrices ``(..., 3, 3)``: their first two rows."""
    return matrix[..., :2, :].flatten(-2)


def angles_to_matrix(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` of angles in degrees.

    Positive yaw turns the face to the viewer's right, positive pitch lifts the chin, positive roll tilts the head to
    the viewer's left (counter-clockwise). Applied in the order roll, pitch, yaw to column vectors.
    """
    y, p, r = (angle * (math.pi / 180) for angle in torch.broadcast_tensors(yaw, -pitch, roll))
    one, zero = torch.ones_like(y), torch.zeros_like(y)
    turn = torch.stack((y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos()), -1)
    lift = torch.stack((one, zero, zero, zero, p.cos(), -p.sin(), zero, p.sin(), p.cos()), -1)
    tilt = torch.stack((r.cos(), -r.sin(), zero, r.sin(), r.cos(), zero, zero, zero, one), -1)
    matrices = [part.unflatten(-1, (3, 3)) for part in (turn, lift, tilt)]
    with without_autocast(matrices[0]):
        return matrices[0] @ matrices[1] @ matrices[2]


def matrix_to_angles(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Yaw, pitch and roll in degrees of matrices: the inverse of :func:`angles_to_matrix` for |pitch| < 90°."""
    degrees = 180 / math.pi
    yaw = torch.atan2(matrix[..., 0, 2], matrix[..., 2, 2])
    pitch = torch.asin(matrix[..., 1, 2].clamp(-1, 1))
    roll = torch.atan2(matrix[..., 1, 0], matrix[..., 1, 1])
    return yaw * degrees, pitch * degrees, roll * degrees
