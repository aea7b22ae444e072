"""Which part of a head is skin, lips, brows, hair and iris, found by landmarks and regions, and the colours of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gptface.morphable.model import MorphableModel
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
    hair_share,
    smoothstep,
)

__all__ = ["Complexion", "paint"]

# Parts that are no skin, by the names that readers give them, and their colours.
_INNER = {
    "teeth": TOOTH,
    "gums": GUM,
    "gums_and_tongue": GUM,
    "tongue": TONGUE,
    "mouth_socket": CAVITY,
    "eye_socket_left": np.array([0.45, 0.17, 0.15]),
    "eye_socket_right": np.array([0.45, 0.17, 0.15]),
    "eye_lining": np.array([0.45, 0.17, 0.15]),
}


@dataclass
class Complexion:
    """How much each vertex belongs to what, ``(V,)`` each, 0 to 1."""

    skin: np.ndarray
    lips: np.ndarray
    brows: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    cheeks: np.ndarray
    beard: np.ndarray


def _inside(points: np.ndarray, polygon: np.ndarray, soft: float) -> np.ndarray:
    """How far inside a polygon of the plane, as 0 (outside) to 1 (``soft`` inside its edge)."""
    x, y = points.T
    crossings = np.zeros(len(points), dtype=bool)
    nearest = np.full(len(points), np.inf)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        between = (ay > y) != (by > y)
        level = ax + (y - ay) * (bx - ax) / np.where(by == ay, 1e-12, by - ay)
        crossings ^= between & (x < level)
        nearest = np.minimum(nearest, _to_segment(points, np.array([ax, ay]), np.array([bx, by])))
    signed = np.where(crossings, nearest, -nearest)
    return smoothstep(signed, -0.5 * soft, 0.5 * soft)


def _to_segment(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    direction = end - start
    share = np.clip((points - start) @ direction / max(float(direction @ direction), 1e-12), 0, 1)
    return np.linalg.norm(points - start - share[:, None] * direction, axis=1)


def _to_line(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance of points to a line of several segments."""
    return np.min([_to_segment(points, a, b) for a, b in pairwise(line)], axis=0)


def _iris(vertices: np.ndarray, ball: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of iris and of pupil for the vertices of an eyeball that looks straight ahead."""
    points = vertices[ball]
    # The sphere through the points: |p|² = 2 c·p + k.
    system = np.column_stack((2 * points, np.ones(len(points))))
    solution = np.linalg.lstsq(system, np.square(points).sum(1), rcond=None)[0]
    away = points - solution[:3]
    polar = np.degrees(np.arctan2(np.hypot(away[:, 0], away[:, 1]), away[:, 2]))
    return 1 - smoothstep(polar, 25.0, 28.0), 1 - smoothstep(polar, 10.5, 13.0)


def paint(model: MorphableModel) -> tuple[Complexion, np.ndarray]:
    """What each vertex belongs to, and a mean colour ``(V, 3)`` in linear light."""
    vertices = model.mean.cpu().numpy().astype(np.float64)
    count = len(vertices)
    colours = np.tile(SKIN, (count, 1))
    parts = {name: index.cpu().numpy() for name, index in model.regions.items()}
    skin = np.ones(count)
    for name in (*_INNER, "eyeball_left", "eyeball_right"):
        if name in parts:
            skin[parts[name]] = 0.0
    outer = skin.copy()
    zero = np.zeros(count)
    found = Complexion(skin, zero.copy(), zero.copy(), zero.copy(), zero.copy(), zero.copy(), zero.copy())
    if len(model.landmark_vertices) == 68:
        marks = model.landmarks(model.mean[None])[0].cpu().numpy().astype(np.float64)
        _by_landmarks(found, vertices, marks, outer)
    for name in ("lips", "brows", "hair"):  # a model that knows its own parts is believed
        if name in parts and name != "lips":
            own = np.zeros(count)
            own[parts[name]] = 1.0
            setattr(found, name, np.maximum(own, getattr(found, name) * (name == "brows")) * outer)
    found.hair *= 1 - found.brows
    colours = blend(colours, CHEEK, 0.5 * found.cheeks)
    colours = blend(colours, HAIR, 0.92 * found.hair)
    colours = blend(colours, HAIR, 0.80 * found.brows)
    colours = blend(colours, RED, found.lips)
    found.skin = outer * (1 - found.lips) * (1 - 0.9 * found.brows) * (1 - found.hair)
    for name, colour in _INNER.items():
        if name in parts:
            colours[parts[name]] = colour
    for name in ("eyeball_left", "eyeball_right"):
        if name in parts:
            iris, pupil = _iris(vertices, parts[name])
            colours[parts[name]] = blend(blend(np.tile(WHITE, (len(iris), 1)), IRIS, iris), PUPIL, pupil)
            found.iris[parts[name]] = iris * (1 - pupil)
    return found, colours


def _by_landmarks(found: Complexion, vertices: np.ndarray, marks: np.ndarray, outer: np.ndarray) -> None:
    """Lips, brows, hair, cheeks and beard from the 68 landmarks, for whatever size the head has."""
    eyes = 0.5 * (marks[36:42].mean(0) + marks[42:48].mean(0))
    mouth = marks[48:60].mean(0)
    scale = float(np.linalg.norm(marks[42:48].mean(0) - marks[36:42].mean(0))) / 6.3
    front = outer * (vertices[:, 2] > min(marks[36, 2], marks[45, 2]) - 1.0 * scale)
    lips = _inside(vertices[:, :2], marks[48:60, :2], 0.22 * scale)
    found.lips = lips * front * (np.abs(vertices[:, 2] - mouth[2]) < 2.5 * scale)
    for line in (marks[17:22], marks[22:27]):
        near = np.exp(-((_to_line(vertices - [0, -0.12 * scale, 0], line) / (0.40 * scale)) ** 2.5))
        found.brows = np.maximum(found.brows, near * front)
    # Where things are on a head whose pupils are 6.3 cm apart, 2.45 cm above the middle of the ears.
    place = (vertices - eyes) / scale + [0.0, 2.45, 8.2]
    found.hair = hair_share(place) * outer
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
    chin = (marks[8, 1] - eyes[1]) / scale + 2.45
    lip_level = (mouth[1] - eyes[1]) / scale + 2.45
    found.cheeks = np.exp(-0.5 * (((x - 3.6) / 1.4) ** 2 + ((y - 0.5 * (lip_level + 2.45) + 0.3) / 1.1) ** 2)) * front
    beard = smoothstep(-y, -lip_level - 1.9, -lip_level + 0.8) * (1 - smoothstep(-y, -chin + 0.2, -chin + 1.6))
    found.beard = beard * smoothstep(z, 1.5, 4.0) * outer
