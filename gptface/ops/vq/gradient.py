"""Gradient estimators through the choice of a code: the value is exactly the code, the gradient goes to the input."""

from __future__ import annotations

from torch import Tensor

__all__ = ["rotation_trick", "straight_through"]


def straight_through(x: Tensor, code: Tensor) -> Tensor:
    """``code`` with the gradient of ``x`` (Bengio et al., arXiv 1308.3432). Both ``(..., D)``.

    ``x − x`` is added to the code, not ``code − x`` to ``x``: that would round the code.
    """
    return code.detach() + (x - x.detach())


def rotation_trick(x: Tensor, code: Tensor) -> Tensor:
    """``code`` as the image of ``x`` under a rotation and a scaling held constant (Fifty et al., arXiv 2410.06424).

    With unit vectors e of ``x``, q of ``code`` and r of e + q, the rotation that takes e to q is
    ``R = I − 2 r rᵀ + 2 q eᵀ``; the gradient of ``x`` is that of the output, scaled by ``‖code‖ / ‖x‖`` and turned by
    ``Rᵀ``. Norms below 1e-6 count as 1e-6. Both ``(..., D)``.
    """
    code, constant = code.detach(), x.detach()
    x_norm = constant.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    code_norm = code.norm(dim=-1, keepdim=True)
    x_unit, code_unit = constant / x_norm, code / code_norm.clamp_min(1e-6)
    half = x_unit + code_unit
    half = half / half.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    turned = x - 2 * half * (half * x).sum(-1, keepdim=True) + 2 * code_unit * (x_unit * x).sum(-1, keepdim=True)
    turned = turned * (code_norm / x_norm)
    return code + (turned - turned.detach())
