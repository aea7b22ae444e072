"""The synthetic head's colours: a mean for each part in linear light."""

from __future__ import annotations

import numpy as np

from gptface.morphable.paint import (
    CAVITY,
    CHEEK,
    GUM,
    HAIR,
    IRIS,
    PUPIL,
    RED,
    SKIN,
    TONGUE,
    TOOTH,
    WHITE,
    blend,
    smoothstep,
)
from gptface.morphable.synthetic.features import brow_strength, hair_strength
from gptface.morphable.synthetic.mesh import HeadMesh
from gptface.morphable.synthetic.skull import bump

__all__ = ["mean_albedo"]


def mean_albedo(mesh: HeadMesh) -> np.ndarray:
    """Colours ``(V, 3)``."""
    x, y, z = mesh.vertices.T
    side = np.abs(x)
    front = smoothstep(z, 3.0, 6.5)
    colours = np.tile(SKIN, (len(x), 1))
    blush = 0.5 * bump(side, y, (3.6, -0.6), 1.3, 1.0) + 0.5 * bump(x, y, (0, -1.0), 0.9, 0.6)
    colours = blend(colours, CHEEK, np.clip(blush * front, 0, 1))
    colours = blend(colours, 0.70 * SKIN, 0.6 * bump(side, y, (2.3, 1.75), 1.0, 0.35) * front)
    colours = blend(colours, 0.12 * SKIN, 0.95 * bump(side, y, (0.56, -2.08), 0.20, 0.10) * front)
    colours = blend(colours, HAIR, 0.95 * hair_strength(mesh))
    colours = blend(colours, HAIR, 0.85 * brow_strength(mesh))
    colours = blend(colours, RED, mesh.red * np.clip(mesh.lip * 1.6 - 0.1, 0, 1))
    lash = smoothstep(mesh.lid, 0.80, 0.98) * np.where(np.sin(mesh.lid_angle) > -1e-6, 0.85, 0.35)
    colours = blend(colours, 1.2 * HAIR, lash * (mesh.eye_side != 0))
    parts = mesh.parts
    lining = parts["eye_lining"]
    colours[lining] = np.array([0.45, 0.17, 0.15])
    for name in ("eyeball_left", "eyeball_right"):
        ball = parts[name]
        polar = np.degrees(mesh.polar[ball])
        iris = 1 - smoothstep(polar, 25.5, 27.0)
        pupil = 1 - smoothstep(polar, 9.0, 13.0)
        ring = np.exp(-0.5 * ((polar - 25.0) / 2.2) ** 2)
        tone = WHITE * (1 - 0.25 * smoothstep(polar, 40, 75))[:, None]
        tone = blend(tone, IRIS, iris)
        colours[ball] = blend(blend(tone, 0.4 * IRIS, 0.7 * ring * iris), PUPIL, pupil)
    colours[parts["teeth"]] = TOOTH
    colours[parts["gums"]] = GUM
    colours[parts["tongue"]] = TONGUE
    colours[parts["mouth_socket"]] = CAVITY
    return colours
