"""The synthetic head's features on its ground form: nose, brow, sockets, cheeks, chin and a cap of short hair."""

from __future__ import annotations

import numpy as np

from gptface.morphable.paint import hair_share, smoothstep
from gptface.morphable.synthetic.mesh import HeadMesh
from gptface.morphable.synthetic.skull import MOUTH_LINE, bump

__all__ = ["brow_strength", "hair_strength", "sculpt"]

# Height of the nose's ridge above the ground form, and its half width, from between the eyes to below the tip.
_RIDGE_Y = np.array([-2.75, -2.3, -2.0, -1.6, -1.1, -0.6, 0.2, 1.2, 2.2, 3.0, 4.2])
_RIDGE_OUT = np.array([0.0, 0.15, 1.00, 2.10, 2.35, 2.20, 1.70, 1.10, 0.60, 0.30, 0.0])
_RIDGE_WIDTH = np.array([1.1, 1.1, 1.15, 1.18, 1.12, 0.98, 0.88, 0.85, 0.82, 0.90, 1.1])
_BROW_X = np.array([0.95, 1.8, 2.8, 3.8, 4.7, 5.3])
_BROW_Y = np.array([4.05, 4.42, 4.75, 4.86, 4.52, 4.05])


def sculpt(mesh: HeadMesh) -> np.ndarray:
    """Where the features move the ground form: offsets ``(V, 3)``."""
    x, y, z = mesh.vertices.T
    side = np.abs(x)
    front = smoothstep(z, 1.5, 5.5)
    offset = np.zeros_like(mesh.vertices)
    out = offset[:, 2]
    out += _nose(x, y)
    out += 0.34 * bump(side, y, (2.6, 4.35), 1.6, 0.50) + 0.16 * bump(x, y, (0.0, 4.1), 0.9, 0.6)
    out -= 0.20 * bump(side, y, (1.45, 3.0), 0.55, 0.60) + 0.22 * bump(side, y, (3.3, 3.75), 1.5, 0.32)
    out -= 0.16 * bump(side, y, (3.0, 0.9), 1.4, 0.40)
    out += 0.40 * bump(side, y, (4.7, 0.2), 1.5, 1.0) + 0.30 * bump(side, y, (3.2, -1.0), 1.2, 1.0)
    out -= 0.30 * bump(side, y, (4.9, -3.4), 1.2, 1.6)
    out -= 0.09 * _fold(side, y)
    out += 0.40 * bump(x, y, (0.0, -7.5), 1.25, 0.75) - 0.34 * bump(x, y, (0.0, -6.0), 1.5, 0.32)
    out += 0.10 * bump(side, y, (0.42, -3.0), 0.20, 0.45) - 0.12 * bump(x, y, (0.0, -3.0), 0.20, 0.45)
    out -= 0.55 * bump(side, y, (0.55, -2.08), 0.24, 0.13)
    out += 0.20 * bump(x, y, (0.0, 7.6), 3.2, 1.6)
    out *= front
    # The wings of the nose end in a crease, the tip hangs a little, the nostrils are hollows on its underside.
    offset[:, 1] += -0.25 * bump(x, y, (0.0, -1.2), 0.8, 0.5) * front
    offset[:, 1] += 0.16 * bump(side, y, (0.55, -2.0), 0.26, 0.20) * front
    temple = np.exp(-0.5 * (((y - 4.6) / 1.8) ** 2 + ((z - 4.2) / 2.0) ** 2))
    offset[:, 0] -= 0.35 * np.sign(x) * temple
    jaw = np.exp(-0.5 * (((y + 4.9) / 1.0) ** 2 + ((z - 0.3) / 1.8) ** 2)) * (side > 3)
    offset[:, 0] += 0.12 * np.sign(x) * jaw
    skin = np.zeros(len(x))
    skin[mesh.parts["skin"]] = 1.0
    skin[mesh.parts["ears"]] = 0.0
    offset *= skin[:, None]
    # Lips and what lies behind them stand forward together.
    muzzle = 0.30 * bump(x, y, (0.0, MOUTH_LINE + 0.3), 2.2, 1.5) * smoothstep(z, 3.0, 7.5)
    inside = np.zeros(len(x), dtype=bool)
    for part in ("mouth_socket", "teeth", "gums", "tongue", "lips"):
        inside[mesh.parts[part]] = True
    offset[:, 2] += muzzle * np.where(inside, 1.0, skin)
    direction = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    offset += 0.42 * (hair_strength(mesh) * skin)[:, None] * direction
    return offset


def _nose(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    side = np.abs(x)
    ridge = np.interp(y, _RIDGE_Y, _RIDGE_OUT, left=0.0, right=0.0)
    width = np.interp(y, _RIDGE_Y, _RIDGE_WIDTH)
    out = ridge * np.exp(-((side / width) ** 2.3))
    wing = np.exp(-((np.hypot((side - 1.22) / 0.55, (y + 1.45) / 0.55)) ** 2.6))
    return (
        out + 1.10 * wing - 0.32 * bump(side, y, (2.0, -1.45), 0.26, 0.55) - 0.22 * bump(side, y, (1.05, 0.1), 0.3, 0.7)
    )


def _fold(side: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The fold from the nose's wing to beside the corner of the mouth."""
    along = np.clip((y + 1.6) / (-4.6 + 1.6), 0, 1)
    path = 1.95 + 1.3 * along**1.2
    return np.exp(-0.5 * ((side - path) / 0.42) ** 2) * smoothstep(along, 0.0, 0.2) * (1 - smoothstep(along, 0.75, 1.0))


def brow_strength(mesh: HeadMesh) -> np.ndarray:
    """How much a vertex belongs to an eyebrow, 0 to 1."""
    x, y, z = mesh.vertices.T
    side = np.abs(x)
    middle = np.interp(side, _BROW_X, _BROW_Y)
    thick = np.interp(side, _BROW_X, [0.34, 0.42, 0.38, 0.32, 0.25, 0.18])
    ends = smoothstep(side, 0.75, 1.25) * (1 - smoothstep(side, 4.9, 5.6))
    strength = np.exp(-(np.abs((y - middle) / thick) ** 2.5)) * ends * (z > 4)
    return strength * np.isin(np.arange(len(x)), mesh.parts["skin"])


def hair_strength(mesh: HeadMesh) -> np.ndarray:
    """How much a vertex belongs to the hair, 0 to 1: above a line from the forehead past the temple behind the ear."""
    strength = hair_share(mesh.vertices)
    skin = np.isin(np.arange(len(strength)), np.setdiff1d(mesh.parts["skin"], mesh.parts["ears"]))
    return strength * skin
