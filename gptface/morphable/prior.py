"""How plausible parameters are: the statistics that every morphable model brings along, as energies to minimise."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.morphable.model import MorphableModel

__all__ = ["expression_energy", "gaussian_energy", "light_energy", "prior_energy"]

# Blendshape weights lie in 0 to 1, most of them near 0. The slope inside is that of a normal distribution of this
# width; outside, a wall that costs one unit a twentieth beyond.
_BLENDSHAPE_WIDTH = 0.5
_WALL_WIDTH = 0.05


def gaussian_energy(weights: Tensor) -> Tensor:
    """``½ Σ w²`` a row ``(B,)`` of ``(B, N)``: the negative logarithm of N(0, 1), up to a constant."""
    return 0.5 * weights.square().sum(-1)


def expression_energy(weights: Tensor, kind: str) -> Tensor:
    """Energy ``(B,)`` of expression weights ``(B, E)``: Gaussian, or for blendshapes small and inside 0 to 1."""
    if kind == "gaussian":
        return gaussian_energy(weights)
    outside = torch.relu(weights - 1) + torch.relu(-weights)
    return gaussian_energy(weights / _BLENDSHAPE_WIDTH) + gaussian_energy(outside / _WALL_WIDTH)


def light_energy(light: Tensor) -> Tensor:
    """Energy ``(B,)`` of light ``(B, 9, 3)``: its distance from white, so that no light explains skin."""
    white = light.mean(-1, keepdim=True)
    return 0.5 * (light - white).square().sum((-1, -2))


def prior_energy(
    model: MorphableModel,
    identity: Tensor | None = None,
    expression: Tensor | None = None,
    albedo: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood ``(B,)``, up to a constant, of what is given: the sum of the energies above."""
    energies = []
    if identity is not None:
        energies.append(gaussian_energy(identity))
    if expression is not None:
        energies.append(expression_energy(expression, model.expression_kind))
    if albedo is not None:
        energies.append(gaussian_energy(albedo))
    if not energies:
        return torch.zeros(1, device=model.mean.device)
    total = energies[0]
    for energy in energies[1:]:
        total = total + energy
    return total
