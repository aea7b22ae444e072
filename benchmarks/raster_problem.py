"""The meshes of the ``raster`` subject, what is to be drawn of them, and the float64 truth."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.shapes import RasterShape
from gptface.ops import interpolate, rasterize

__all__ = ["Drawing", "RasterProblem", "make_head"]


@dataclass
class Drawing:
    """What a contender hands over: ``picture (B, H, W, 3)``; where gradients are asked for, those of a vertex's place
    in the picture ``(B, V, 2)`` (x to the right, y downwards, in pixels) and of the colours ``(V, 3)``."""

    picture: Tensor
    grad_pixels: Tensor | None = None
    grad_colours: Tensor | None = None


@dataclass
class RasterProblem:
    """``positions (B, V, 4)`` float32 in clip space, ``triangles (T, 3)`` int32, ``colours (V, 3)`` and the gradient
    ``upstream (B, H, W, 3)`` that arrives at the picture."""

    shape: RasterShape
    positions: Tensor
    triangles: Tensor
    colours: Tensor
    upstream: Tensor

    @functools.cached_property
    def truth(self) -> Drawing:
        """By the reference in float64."""
        positions, colours = self.positions.double().requires_grad_(), self.colours.double().requires_grad_()
        picture = draw(positions, self.triangles, colours, self.shape.size, "reference")
        if not self.shape.step:
            return Drawing(picture.detach())
        grad_positions, grad_colours = torch.autograd.grad(picture, (positions, colours), self.upstream.double())
        return Drawing(picture.detach(), self.in_pixels(grad_positions), grad_colours)

    def in_pixels(self, grad_positions: Tensor) -> Tensor:
        """From clip space: a pixel to the right is 2 w / size there, and downwards is the other way round."""
        scale = 2 * self.positions[..., 3:].to(grad_positions.dtype) / self.shape.size
        return grad_positions[..., :2] * scale * torch.tensor([1.0, -1.0], device=scale.device)


def draw(positions: Tensor, triangles: Tensor, colours: Tensor, size: int, impl: str) -> Tensor:
    """Colours of vertices over the picture, black around."""
    raster = rasterize(positions, triangles, size, size, impl=impl)
    return interpolate(colours[None], raster, triangles, impl=impl)


def _head(rings: int, sectors: int) -> tuple[Tensor, Tensor]:
    """A closed surface with a head's outline: an ellipsoid with a nose, a chin and a neck. Triangles clockwise as seen
    from outside."""
    polar = torch.linspace(0, math.pi, rings + 1)[:, None]
    around = torch.arange(sectors)[None] * (2 * math.pi / sectors)
    unit = torch.stack(
        (polar.sin() * around.cos(), polar.cos().expand(-1, sectors), polar.sin() * around.sin()), -1
    ).reshape(-1, 3)

    def bump(centre: tuple[float, float, float], narrow: float, height: float) -> Tensor:
        return height * (-narrow * (unit - torch.tensor(centre)).square().sum(-1, keepdim=True)).exp()

    radius = 1 + bump((0.0, 0.0, -1.0), 30, 0.25) + bump((0.0, -0.7, -0.7), 8, 0.12) + bump((0.0, -1.0, 0.0), 6, 0.3)
    ring, sector = torch.arange(rings)[:, None], torch.arange(sectors)[None]
    a, b = ring * sectors + sector, ring * sectors + (sector + 1) % sectors
    triangles = torch.stack((torch.stack((a, a + sectors, b), -1), torch.stack((b, a + sectors, b + sectors), -1)))
    return unit * radius * torch.tensor([0.75, 1.0, 0.85]), triangles.reshape(-1, 3).int()


def make_head(shape: RasterShape, device: torch.device) -> RasterProblem:
    """Heads turned by up to 30 degrees that fill most of the picture, random colours; a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    vertices, triangles = _head(shape.rings, shape.sectors)
    yaw = (torch.rand(shape.batch, generator=generator) - 0.5) * (math.pi / 3)
    turn = torch.zeros(shape.batch, 3, 3)
    turn[:, 0, 0], turn[:, 0, 2], turn[:, 1, 1] = yaw.cos(), yaw.sin(), 1
    turn[:, 2, 0], turn[:, 2, 2] = -yaw.sin(), yaw.cos()
    turned = vertices @ turn.transpose(1, 2)
    w = 4 + turned[..., 2:] if shape.perspective else torch.ones(*turned.shape[:2], 1)
    scale = 3.0 if shape.perspective else 0.75
    positions = torch.cat((scale * turned[..., :2], 0.5 * turned[..., 2:] * w / 2, w), -1)
    colours = torch.rand(len(vertices), 3, generator=generator)
    upstream = torch.randn(shape.batch, shape.size, shape.size, 3, generator=generator)
    return RasterProblem(shape, positions.to(device), triangles.to(device), colours.to(device), upstream.to(device))
