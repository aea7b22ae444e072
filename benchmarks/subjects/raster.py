"""Rasterisation: colours of a mesh's vertices over a batch of pictures, and the gradients of that."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.contender import BASELINE, CannotRun, Case, Contender, Prepared, Scale, Subject, Verdict
from benchmarks.peers import rasterizers
from benchmarks.raster_problem import Drawing, RasterProblem, draw, make_head
from benchmarks.shapes import RasterShape, raster_shapes
from gptface.ops import implementations

__all__ = ["Rasterisation"]

# A pixel counts as wrong where its colour is off by more; the share may be that of centres closer to an edge than
# anybody's rounding of places.
WRONG, WRONG_SHARE = 1e-3, 1e-3
# Of the norm. deodr's are 1 to 2 % off, in some vertices at the outline.
GRADIENT_RATIO = 5e-2


class Rasterisation(Subject):
    name = "raster"
    title = "Rasterisation"
    size_label = "triangles in a batch"

    def cases(self, scale: Scale, device: torch.device) -> Sequence[Case]:
        return [
            Case(shape.name, shape.batch * shape.triangles, dataclasses.asdict(shape), shape.size == 224)
            for shape in raster_shapes(scale)
        ]

    def problem(self, case: Case, device: torch.device) -> RasterProblem:
        return make_head(RasterShape(**case.settings), device)

    def contenders(self, case: Case) -> Sequence[Contender]:
        own = [Contender(BASELINE, "gptface", functools.partial(_prepare_own, impl="auto"))]
        for entry in implementations("rasterize"):
            prepare = functools.partial(_prepare_own, impl=entry.name, reason=entry.reason)
            own.append(Contender(f"gptface, {entry.name}", "gptface", prepare))
        return [*own, *rasterizers.contenders()]

    def gate(self, problem: RasterProblem, outputs: Drawing) -> Verdict:
        """The picture of the float64 reference, but for pixels that lie on an edge; and its gradients."""
        truth, found = problem.truth, outputs.picture.double()
        if found.shape != truth.picture.shape:
            return Verdict({}, f"the picture is {tuple(found.shape)}, not {tuple(truth.picture.shape)}")
        off = (found - truth.picture).abs().amax(-1)
        figures = {"wrong": float((off > WRONG).double().mean())}
        failure = f"{figures['wrong']:.2%} of the pixels are off" if figures["wrong"] > WRONG_SHARE else ""
        for name, mine, exact in (
            ("grad_pixels", outputs.grad_pixels, truth.grad_pixels),
            ("grad_colours", outputs.grad_colours, truth.grad_colours),
        ):
            if exact is None:
                continue
            if mine is None:
                return Verdict(figures, f"there is no {name}")
            figures[name] = float((mine.double() - exact).norm() / exact.norm())
            if not figures[name] <= GRADIENT_RATIO:
                failure = failure or f"{name} is off by {figures[name]:.1%}"
        return Verdict(figures, failure)

    def work(self, problem: RasterProblem) -> dict[str, float]:
        shape = problem.shape
        return {"triangles": shape.batch * shape.triangles, "pixels": shape.batch * shape.size**2}

    def rates(self, work: Mapping[str, float], seconds: float) -> dict[str, float]:
        return {"Mtriangles/s": work["triangles"] / seconds * 1e-6, "Mpixels/s": work["pixels"] / seconds * 1e-6}


def _prepare_own(problem: RasterProblem, impl: str, reason: str = "") -> Prepared:
    if reason:
        raise CannotRun(reason)
    step, size = problem.shape.step, problem.shape.size
    positions = problem.positions.clone().requires_grad_(step)
    colours = problem.colours.clone().requires_grad_(step)

    def run(_: None) -> tuple[Tensor, Sequence[Tensor]]:
        picture = draw(positions, problem.triangles, colours, size, impl)
        if not step:
            return picture, ()
        return picture, torch.autograd.grad(picture, (positions, colours), problem.upstream)

    def outputs(result: tuple[Tensor, Any]) -> Drawing:
        picture, gradients = result
        if not step:
            return Drawing(picture)
        return Drawing(picture.detach(), problem.in_pixels(gradients[0]), gradients[1])

    return Prepared(run, None, outputs)
