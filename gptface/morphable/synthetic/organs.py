"""Parts of the synthetic head that are meshes of their own: eyeballs, teeth, tongue and ears."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from gptface.morphable.synthetic.builder import Builder
from gptface.morphable.synthetic.skull import EYE, EYE_RADII, MOUTH_LINE

__all__ = ["add_ear", "add_eyeball", "add_teeth", "add_tongue"]


def add_eyeball(build: Builder, side: int) -> None:
    """An eyeball whose rings run round the line of sight, so that pupil, iris and white end where a ring does."""
    polar = np.concatenate((np.radians([7, 13, 16, 21, 26, 28.5]), np.radians(np.linspace(36, 120, 8))))
    around = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    centre = EYE * [side, 1, 1]
    tip = build.add(centre[None] + [[0, 0, EYE_RADII[2]]], eyeball=1.0, polar=0.0, eye_side=side)
    previous = None
    for angle in polar:
        unit = np.stack((np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.full(28, np.cos(angle))), 1)
        loop = build.add(centre + unit * EYE_RADII, eyeball=1.0, polar=angle, eye_side=side)
        if previous is None:
            build.fan(loop, int(tip[0]))
        else:
            build.band(loop, previous)
        previous = loop


def add_teeth(build: Builder, upper: bool) -> None:
    """One row of teeth: a band along the dental arch, with a tooth every few columns."""
    angles = np.linspace(-1.5, 1.5, 65)
    arch_x, arch_z = 2.30 * np.sin(angles), 6.15 + 2.30 * np.cos(angles)
    gap = np.abs(np.sin(angles * 7.5))
    edge = MOUTH_LINE + (-0.14 if upper else -0.22)
    height = 0.95 if upper else -0.8
    rows = []
    for share, out in ((0.0, -0.25), (0.0, 0.0), (0.3, 0.05), (0.7, 0.03), (1.0, -0.02), (1.35, 0.05)):
        depth = arch_z + out - 0.10 * (1 - gap) ** 2 - (0.0 if upper else 0.22)
        shorter = 0.10 * (1 - gap) * (share == 0.0) * np.sign(height)
        points = np.column_stack((arch_x, np.full_like(arch_x, edge + height * share) + shorter, depth))
        rows.append(build.add(points, tooth=1.0 if share < 1.0 else 0.0, gum=0.0 if share < 1.0 else 1.0,
                              jaw_part=0.0 if upper else 1.0))  # fmt: skip
    for first, second in pairwise(rows):
        quads = (first[:-1], first[1:], second[1:], second[:-1])
        a, b, c, d = quads if upper else (quads[3], quads[2], quads[1], quads[0])
        build.triangles += [np.stack((a, b, c), 1), np.stack((a, c, d), 1)]


def add_tongue(build: Builder) -> None:
    """A flat ellipsoid on the floor of the mouth."""
    around = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    centre, radii = np.array([0.0, MOUTH_LINE - 0.95, 5.7]), np.array([1.55, 0.5, 2.3])
    tip = build.add(centre[None] + [[0, 0, radii[2]]], tongue=1.0, jaw_part=1.0)
    previous = None
    for angle in np.radians(np.linspace(18, 125, 8)):
        unit = np.stack((np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.full(20, np.cos(angle))), 1)
        loop = build.add(centre + unit * radii, tongue=1.0, jaw_part=1.0)
        if previous is None:
            build.fan(loop, int(tip[0]))
        else:
            build.band(loop, previous)
        previous = loop


def add_ear(build: Builder, side: int) -> None:
    """An ear: a disc of the ear's outline, rolled over at its rim and hollow in the middle."""
    around = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    up, back = np.sin(around), -np.cos(around)
    outline = np.column_stack((np.where(up > 0, 2.9, 3.1) * up, 1.65 * back * (1 + 0.28 * up) + 0.25 * up))
    tip = build.add(np.array([[side * 7.15, 0.55, -1.15]]), ear=1.0)
    previous = None
    profile = (
        (0.22, -0.05), (0.40, 0.05), (0.54, 0.42), (0.66, 0.62), (0.76, 0.50), (0.85, 0.62), (0.93, 0.80), (1.0, 0.72),
        (1.0, 0.45), (0.80, 0.05), (0.55, -0.35),
    )  # fmt: skip
    for radius, out in profile:
        flat = outline * radius
        attached = 0.5 * (1 - back)  # the front edge lies against the cheek, the back edge stands off
        x = 7.05 + (0.12 + out) * (1 - 0.75 * attached) + 0.55 * np.clip(flat[:, 1] / 1.65, -1, 1)
        points = np.column_stack((side * x, 0.45 + flat[:, 0], -1.3 - flat[:, 1]))
        loop = build.add(points, ear=1.0)
        if previous is None:
            build.fan(loop if side < 0 else loop[::-1], int(tip[0]))
        elif side < 0:
            build.band(loop, previous)
        else:
            build.band(loop[::-1], previous[::-1])
        previous = loop
