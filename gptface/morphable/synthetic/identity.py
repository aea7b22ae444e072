"""The synthetic head's identity shapes: named ways in which people's heads differ, one standard deviation each."""

from __future__ import annotations

import numpy as np

from gptface.morphable.paint import smoothstep
from gptface.morphable.synthetic.features import hair_strength
from gptface.morphable.synthetic.mesh import HeadMesh
from gptface.morphable.synthetic.skull import CORNER, EYE, MOUTH_LINE, bump

__all__ = ["identity_shapes"]


def _fields(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> dict[str, np.ndarray]:
    """Name → offsets ``(N, 3)`` at any points of the head."""
    side, sign = np.abs(x), np.sign(x)
    front = smoothstep(z, 1.0, 5.0)
    none = np.zeros_like(x)

    def out(dx: np.ndarray | float = 0.0, dy: np.ndarray | float = 0.0, dz: np.ndarray | float = 0.0) -> np.ndarray:
        return np.stack([none + dx, none + dy, none + dz], -1)

    def at(place: tuple[float, float], width: float, height: float | None = None) -> np.ndarray:
        return bump(side, y, place, width, height) * front

    nose = bump(x, y, (0.0, 0.2), 1.5, 2.0) * front
    tip = bump(x, y, (0.0, -1.2), 1.0, 0.8) * front
    eye = at((EYE[0], EYE[1]), 1.9, 1.3)
    mouth = bump(x, y, (0.0, MOUTH_LINE), 2.2, 1.2) * front
    brow = at((3.0, 4.7), 2.4, 0.8)
    chin = bump(x, y, (0.0, -7.8), 2.4, 1.3) * front
    jaw = bump(none, y, (0.0, -5.2), 1.0, 2.0) * smoothstep(z, -3.0, 1.0)
    lower_nose = bump(x, np.minimum(y, -1.2), (0.0, -1.2), 1.5, 1.0) * front
    return {
        "browHeight": out(dy=0.28 * brow),
        "browRidge": out(dz=0.20 * at((2.5, 4.3), 2.0, 0.6)),
        "cheekFullness": out(0.38 * sign * at((4.6, -2.6), 1.6, 1.8), 0.0, 0.35 * at((4.2, -2.6), 1.6, 1.8)),
        "cheekbones": out(0.22 * sign * at((4.9, 0.3), 1.6, 1.1), 0.0, 0.25 * at((4.6, 0.3), 1.6, 1.1)),
        "chinLength": out(dy=-0.42 * smoothstep(-y, 5.2, 8.4) * (1 - smoothstep(-y, 9.6, 12.0)) * front),
        "chinProtrusion": out(dz=0.42 * chin),
        "chinWidth": out(0.30 * np.tanh(x) * at((2.0, -7.7), 1.3, 1.2)),
        "eyeDepth": out(dz=-0.22 * eye),
        "eyeDistance": out(0.17 * sign * at((EYE[0], EYE[1] + 0.6), 1.7, 1.6)),
        "eyeSize": out(0.09 * sign * (side - EYE[0]) * eye, 0.09 * (y - EYE[1]) * eye, 0.09 * (z - EYE[2]) * eye),
        "eyeTilt": out(dy=0.075 * (side - EYE[0]) * eye),
        "faceLength": out(dy=0.030 * (y - 2.4) * (1 - 0.8 * smoothstep(-y, 9.0, 12.0))),
        "faceWidth": out(0.040 * x * smoothstep(y, -11.0, -6.0)),
        "foreheadHeight": out(dy=0.50 * smoothstep(y, 5.0, 11.0)),
        "foreheadSlope": out(dz=-0.50 * bump(x, y, (0.0, 8.2), 5.0, 2.2) * smoothstep(z, 2.0, 7.0)),
        "headDepth": out(dz=0.040 * z * smoothstep(y, -11.0, -6.0)),
        "jawWidth": out(0.42 * sign * smoothstep(side, 1.0, 5.0) * jaw),
        "lipFullnessLower": out(0.0, 0.26 * mouth * np.minimum(y - MOUTH_LINE, 0), 0.14 * at((0.0, -4.7), 1.4, 0.4)),
        "lipFullnessUpper": out(0.0, 0.28 * mouth * np.maximum(y - MOUTH_LINE, 0), 0.12 * at((0.0, -3.8), 1.4, 0.4)),
        "mouthHeight": out(dy=0.22 * mouth),
        "mouthProtrusion": out(dz=0.22 * mouth),
        "mouthWidth": out(0.26 * x / CORNER * mouth * 1.3),
        "neckWidth": out(0.06 * x * smoothstep(-y, 7.0, 10.5), 0.0, 0.05 * (z + 2.2) * smoothstep(-y, 9.0, 11.5)),
        "noseBridge": out(dz=0.24 * bump(x, y, (0.0, 1.5), 0.9, 1.2) * front),
        "noseLength": out(dy=-0.21 * smoothstep(-y, -2.6, 1.2) * lower_nose),
        "noseTip": out(dz=0.25 * tip),
        "noseTipUp": out(dy=0.17 * tip),
        "noseWidth": out(0.17 * x * nose * np.exp(-((side / 2.4) ** 4))),
        "nostrilWidth": out(0.19 * sign * smoothstep(side, 0.2, 1.0) * at((1.2, -1.4), 0.6, 0.6)),
    }  # fmt: skip


def identity_shapes(mesh: HeadMesh, vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Name → offsets ``(V, 3)`` at weight 1, in alphabetical order."""
    shapes = _fields(*mesh.vertices.T)
    for side, part in ((1, "eyeball_left"), (-1, "eyeball_right")):
        ball = mesh.parts[part]
        centre = EYE * [side, 1, 1]
        moved = _fields(*centre[:, None])
        for name, offset in shapes.items():  # an eyeball stays round: it moves as its middle does
            offset[ball] = moved[name]
        shapes["eyeSize"][ball] = 0.05 * (mesh.vertices[ball] - centre)
    ear = mesh.parts["ears"]
    for name in shapes:  # ears go with the side of the head that they stand on
        offset = shapes[name]
        for side in (1, -1):
            mine = ear[mesh.vertices[ear, 0] * side > 0]
            offset[mine] = _fields(*np.array([[side * 7.1], [0.6], [-1.1]]))[name]
    sign = np.sign(mesh.vertices[ear, :1])
    middle = np.concatenate((7.1 * sign, np.full_like(sign, 0.5), np.full_like(sign, -1.1)), 1)
    size, stand = np.zeros_like(vertices), np.zeros_like(vertices)
    size[ear] = 0.09 * (mesh.vertices[ear] - middle)
    stand[ear, 0] = 0.22 * sign[:, 0] * np.clip(-(mesh.vertices[ear, 2] + 0.2) / 1.6, 0, 1.5)
    hair = 0.28 * hair_strength(mesh)[:, None] * mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    shapes.update(earSize=size, earStandOff=stand, hairVolume=hair * (mesh.vertices[:, 1:2] > -4))
    return {name: shapes[name] for name in sorted(shapes)}
