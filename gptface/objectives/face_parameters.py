"""How far a face's parameters are from those that are known of it."""

from __future__ import annotations

from torch import Tensor

from gptface.errors import InputError

__all__ = ["basis_metric", "metric_distances", "rotation_distances"]


def basis_metric(basis: Tensor) -> Tensor:
    """What weights of a linear basis mean in space: float32 ``(M, M)`` for :func:`metric_distances`.

    The squared distance of two meshes, a mean over vertices, is a quadratic form of the difference of their weights;
    this is its matrix. So a loss on vertices costs no vertices.

    Args:
        basis: ``(M, V, 3)``.
    """
    flat = basis.flatten(1).double()
    return (flat @ flat.T / max(1, basis.shape[1])).float()


def metric_distances(found: Tensor, known: Tensor, metric: Tensor | None = None) -> Tensor:
    """``(found − known)ᵀ metric (found − known)`` of every face: ``(F,)``; the sum of squares without a metric.

    Args:
        found, known: ``(F, M)``.
        metric: ``(M, M)``, symmetric.
    """
    if found.shape != known.shape or found.ndim != 2:
        raise InputError(f"found {tuple(found.shape)} and known {tuple(known.shape)} must be (F, weights)")
    apart = found.float() - known.float()
    return (apart * (apart if metric is None else apart @ metric)).sum(-1)


def rotation_distances(found: Tensor, known: Tensor) -> Tensor:
    """Squared angle between rotations, in radians, to second order: ``(F,)`` of matrices ``(F, 3, 3)``.

    Half the squared Frobenius norm of the difference, 4 sin²(angle / 2), whose gradient exists everywhere.
    """
    if found.shape != known.shape or found.shape[1:] != (3, 3):
        raise InputError(f"found {tuple(found.shape)} and known {tuple(known.shape)} must be (F, 3, 3)")
    return 0.5 * (found.float() - known.float()).square().sum((1, 2))
