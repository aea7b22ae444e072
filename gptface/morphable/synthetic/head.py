"""The synthetic head as a :class:`MorphableModel`: mesh, features, shapes, colours and landmarks put together."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from gptface.morphable.model import MorphableModel
from gptface.morphable.synthetic.colours import mean_albedo
from gptface.morphable.synthetic.expression import expression_shapes
from gptface.morphable.synthetic.features import brow_strength, hair_strength, sculpt
from gptface.morphable.synthetic.identity import identity_shapes
from gptface.morphable.synthetic.mesh import HeadMesh, build_mesh, lid_line, lip_border
from gptface.morphable.synthetic.skull import CORNER, EYE, MOUTH_LINE

__all__ = ["synthetic_head"]


def _landmark_places() -> np.ndarray:
    """Where the 68 landmarks of iBUG 300-W lie on the plane of the face, ``(68, 2)``; all but the jaw's."""
    places = np.full((68, 2), np.nan)
    brow_x = np.array([5.0, 4.1, 3.1, 2.1, 1.1])
    brow_y = np.array([4.4, 4.9, 5.0, 4.8, 4.4])
    places[17:22] = np.stack((-brow_x, brow_y), 1)
    places[22:27] = np.stack((brow_x[::-1], brow_y[::-1]), 1)
    places[27:31] = np.stack((np.zeros(4), [2.6, 1.4, 0.2, -1.1]), 1)
    places[31:36] = np.stack(([-1.2, -0.6, 0.0, 0.6, 1.2], [-1.95, -2.15, -2.25, -2.15, -1.95]), 1)
    # Each eye runs clockwise in the picture from its outer left: outer or inner corner, two above, corner, two below.
    angles = np.radians([0.0, 55.0, 125.0, 180.0, 235.0, 305.0])
    left = lid_line(angles) + EYE[:2]
    places[42:48] = left[[3, 2, 1, 0, 5, 4]]
    places[36:42] = (left * [-1.0, 1.0])[[0, 1, 2, 3, 4, 5]]
    turn = np.radians([180, 137, 104, 90, 76, 43, 0, -43, -74, -90, -106, -137])
    places[48:60] = lip_border(turn)
    across = np.array([-0.94, -0.4, 0.0, 0.4, 0.94, 0.4, 0.0, -0.4]) * CORNER
    places[60:68] = np.stack((across, np.full(8, MOUTH_LINE)), 1)
    return places


def _landmarks(mesh: HeadMesh, vertices: np.ndarray) -> np.ndarray:
    """The vertex of each landmark."""
    skin = mesh.parts["skin"]
    ground = mesh.vertices[skin]
    front = skin[ground[:, 2] > 3.0]
    chosen = np.zeros(68, dtype=np.int64)
    for index, place in enumerate(_landmark_places()):
        if np.isnan(place[0]):
            continue
        candidates = front
        if 36 <= index < 48:
            candidates = np.flatnonzero((mesh.lid >= 0.999) & (mesh.eye_side == (-1 if index < 42 else 1)))
            candidates = np.intersect1d(candidates, skin)
        elif index >= 60:
            lip = (mesh.lip >= 0.99) & np.isin(np.arange(len(mesh.lip)), skin)
            upper = np.ones(len(lip), dtype=bool)
            if index in (61, 62, 63):
                upper = mesh.lip_side > 0
            elif index in (65, 66, 67):
                upper = mesh.lip_side < 0
            candidates = np.flatnonzero(lip & upper)
        away = np.square(mesh.vertices[candidates, :2] - place).sum(1)
        chosen[index] = candidates[away.argmin()]
    # The jaw: from before one ear round the chin to the other, seen from the front.
    turn = np.linspace(-1, 1, 17)
    jaw_x = np.array([7.0, 6.85, 6.6, 6.2, 5.5, 4.6, 3.4, 1.8, 0.0])
    jaw_y = np.array([2.0, 0.0, -2.0, -4.0, -5.8, -7.2, -8.2, -8.8, -9.0])
    jaw_z = np.array([0.5, 0.4, 0.3, 0.6, 2.2, 4.4, 6.2, 7.6, 8.3])
    for index in range(17):
        fold = index if index <= 8 else 16 - index
        target = np.array([np.sign(turn[index]) * jaw_x[fold], jaw_y[fold], jaw_z[fold]])
        chosen[index] = skin[np.square(vertices[skin] - target).sum(1).argmin()]
    return chosen


def _stack(shapes: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(list(shapes.values())).astype(np.float32))


@lru_cache(maxsize=1)
def _arrays() -> tuple[HeadMesh, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, np.ndarray]:
    mesh = build_mesh()
    vertices = mesh.vertices + sculpt(mesh)
    return (
        mesh, vertices, identity_shapes(mesh, vertices), expression_shapes(mesh, vertices), mean_albedo(mesh),
        _landmarks(mesh, vertices),
    )  # fmt: skip


def synthetic_head() -> MorphableModel:
    """The built-in head: about nine thousand vertices, 32 identity and 53 expression shapes, all of them named.

    Identity shapes are one standard deviation each; expression shapes are named like ARKit's, weights 0 to 1. It is no
    statistical model of people: its shapes and their spread are made up.
    """
    mesh, vertices, identity, expression, albedo, landmarks = _arrays()
    regions = {name: torch.from_numpy(index) for name, index in mesh.parts.items()}
    regions["brows"] = torch.from_numpy(np.flatnonzero(brow_strength(mesh) > 0.5))
    regions["hair"] = torch.from_numpy(np.flatnonzero(hair_strength(mesh) > 0.5))
    inner = ("mouth_socket", "teeth", "gums", "tongue", "eye_lining", "eyeball_left", "eyeball_right")
    outer = np.setdiff1d(np.arange(len(vertices)), np.concatenate([mesh.parts[name] for name in inner]))
    front = outer[(vertices[outer, 2] > 0.5) & (vertices[outer, 1] > -9.6) & (vertices[outer, 1] < 8.5)]
    regions["face"] = torch.from_numpy(front)
    return MorphableModel(
        torch.from_numpy(vertices.astype(np.float32)),
        torch.from_numpy(mesh.triangles),
        identity_basis=_stack(identity),
        expression_basis=_stack(expression),
        albedo_mean=torch.from_numpy(albedo.astype(np.float32)),
        identity_names=list(identity),
        expression_names=list(expression),
        landmarks=torch.from_numpy(landmarks),
        regions=regions,
        name="synthetic head",
    )
