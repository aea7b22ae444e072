"""What the rasteriser's kernels have to get right: every triangle bit for bit, numbers and gradients by the rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptface.diagnosis.meshes import random_mesh
from gptface.diagnosis.numerics import error_by_rule
from gptface.diagnosis.prove.case import Case, Found, equal
from gptface.ops import interpolate, rasterize

__all__ = ["RasterCase", "cases"]

KERNEL = "raster.cuda"


@dataclass(frozen=True)
class RasterCase(Case):
    """Two crumpled spheres drawn, painted and differentiated, against the definition in float64.

    Attributes:
        rings: of a sphere; it has ``2 · rings · (rings + 3)`` triangles.
        height, width: in pixels.
        bad: one vertex is NaN, and one triangle has a vertex that does not exist.
    """

    rings: int = 20
    height: int = 97
    width: int = 130
    bad: bool = False

    def kernels(self) -> tuple[str, ...]:
        return (KERNEL,)

    def run(self, device: str) -> list[Found]:
        positions, triangles = random_mesh(2, seed=self.rings, rings=self.rings, sectors=self.rings + 3)
        broken = triangles
        if self.bad:  # on the host such a vertex is refused; the expected picture has a triangle without area there
            positions[0, 7] = torch.nan
            broken, triangles = triangles.clone(), triangles.clone()
            broken[3, 1], triangles[3] = positions.shape[1], 0
        first, second = (self._everything(positions.to(device), broken.to(device), "cuda") for _ in range(2))
        plain = self._everything(positions, triangles, "reference")
        plain[1] = plain[1] + int(self.bad)
        exact = self._everything(positions.double(), triangles, "reference")
        found = [
            equal(KERNEL, name, (mine.cpu(), theirs))
            for name, mine, theirs in zip(("triangle of each pixel", "dropped"), first, plain, strict=False)
        ]
        names = ("barycentric", "depth", "drawn", "gradient of positions", "gradient of attributes")
        for name, mine, own, oracle in zip(names, first[2:], plain[2:], exact[2:], strict=True):
            found.append(Found(KERNEL, name, error_by_rule(mine.cpu(), own, oracle)))
        found.append(equal(KERNEL, "everything, run twice", *zip(first, second, strict=True)))
        return found

    def _everything(self, positions: Tensor, triangles: Tensor, impl: str) -> list[Tensor]:
        """Results, then gradients."""
        leaf = positions.clone().requires_grad_()
        attributes = torch.linspace(-1, 1, positions.shape[1] * 3).to(positions).view(1, -1, 3).requires_grad_()
        raster = rasterize(leaf, triangles, self.height, self.width, impl=impl)
        drawn = interpolate(attributes, raster, triangles, impl=impl)
        (drawn.square().sum() + raster.depth.sum()).backward()
        assert leaf.grad is not None and attributes.grad is not None
        results = [raster.triangle, raster.dropped, raster.barycentric, raster.depth, drawn]
        return [*(result.detach() for result in results), leaf.grad, attributes.grad]


def cases() -> list[RasterCase]:
    """The hard set."""
    return [
        RasterCase("many small triangles", 60, bad=True),
        RasterCase("few large triangles", 5, 300, 200),
        RasterCase("one pixel", 12, 1, 1),
    ]
