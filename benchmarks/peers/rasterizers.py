"""Rasterisers by others: deodr, which draws one picture at a time in C++ on one thread.

It takes places in pixels, depths and colours. What it needs of a mesh is made before the clock starts (places and
depths from clip space, its scene object, arrays); only drawing is timed, and with gradients its backward pass. It culls
what turns its back, which halves its work and changes nothing in a closed surface. Its gradients exist without
perspective correction only, so it takes part in those of weak perspective.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.contender import CannotRun, Contender, Prepared, optional_import
from benchmarks.raster_problem import Drawing, RasterProblem

__all__ = ["contenders"]


def contenders() -> list[Contender]:
    return [Contender("deodr", "deodr", _prepare_deodr)]


def _scene(library: Any, problem: RasterProblem, sample: int) -> Any:
    size = problem.shape.size
    x, y, z, w = problem.positions[sample].double().numpy().T
    faces = problem.triangles.numpy().astype(np.uint32)
    flags, vertices = np.zeros(len(faces), bool), len(x)
    return library.Scene2D(
        faces=faces,
        faces_uv=faces,
        ij=np.stack(((x / w + 1) * size / 2, (1 - y / w) * size / 2), -1),
        depths=(w if problem.shape.perspective else z + 10).copy(),
        textured=flags,
        uv=np.zeros((vertices, 2)),
        shade=np.zeros(vertices),
        colors=problem.colours.double().numpy().copy(),
        shaded=flags,
        edgeflags=np.zeros((len(faces), 3), bool),
        height=size,
        width=size,
        nb_colors=3,
        texture=np.zeros((0, 0, 3)),
        background_color=np.zeros(3),
        clockwise=False,
        backface_culling=True,
        strict_edge=True,
        perspective_correct=problem.shape.perspective,
        integer_pixel_centers=False,
    )


def _prepare_deodr(problem: RasterProblem) -> Prepared:
    library = optional_import("deodr.differentiable_renderer", "deodr")
    if problem.positions.device.type != "cpu":
        raise CannotRun("on a processor only")
    if problem.shape.step and problem.shape.perspective:
        raise CannotRun("has no gradients with perspective correction")
    shape = problem.shape
    scenes = [_scene(library, problem, sample) for sample in range(shape.batch)]
    pictures = np.empty((shape.batch, shape.size, shape.size, 3))
    depth = np.empty((shape.size, shape.size))
    upstream = problem.upstream.double().numpy()

    def run(_: None) -> Any:
        for sample, scene in enumerate(scenes):
            library.renderScene(scene, 0.0, pictures[sample], depth, check_valid=False)
            if shape.step:
                scene.clear_gradients()
                given = upstream[sample].copy()  # it writes there
                library.renderSceneB(scene, 0.0, pictures[sample], depth, given, check_valid=False)
        return pictures

    def outputs(_: Any) -> Drawing:
        drawn = torch.from_numpy(pictures.copy())
        if not shape.step:
            return Drawing(drawn)
        pixels = torch.from_numpy(np.stack([scene.ij_b for scene in scenes]))
        return Drawing(drawn, pixels, torch.from_numpy(sum(scene.colors_b for scene in scenes)))

    return Prepared(run, None, outputs)
