"""The synthetic head's mesh: a grid round the head with openings for eyes and mouth, rings of lids and lips in them,
and eyeballs, teeth, tongue and ears as parts of their own."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gptface.morphable.paint import smoothstep
from gptface.morphable.synthetic.builder import Builder
from gptface.morphable.synthetic.organs import add_ear, add_eyeball, add_teeth, add_tongue
from gptface.morphable.synthetic.skull import CORNER, EYE, EYE_RADII, MOUTH_LINE, Loft

__all__ = ["HeadMesh", "build_mesh", "lid_line", "lid_surface", "lip_border"]

FRONT_COLUMNS = 56
BACK_COLUMNS = 16
ROWS = 76
EYE_OPENING = (0.75, 6.0, 0.5, 5.5)
"""x and y between which the grid gives way to the rings round an eye."""
MOUTH_OPENING = (3.7, -6.3, -2.3)
LID_RINGS = 9
LIP_RINGS = 8


@dataclass
class HeadMesh:
    """Vertices, triangles and what each vertex belongs to.

    Attributes:
        vertices: ``(V, 3)``, the ground form: no nose yet.
        triangles: ``(T, 3)``.
        parts: name → vertex indices.
        lid: ``(V,)`` how near to the edge of an eyelid, 0 to 1.
        lid_angle: ``(V,)`` where round the eye, radians: 0 the outer corner, π/2 above, π the inner corner.
        eye_side: ``(V,)`` +1 round the person's left eye, −1 round the right, 0 elsewhere.
        lip: ``(V,)`` how near to the line between the lips, 0 to 1.
        lip_side: ``(V,)`` +1 upper lip, −1 lower lip, a fraction near the corners; 0 elsewhere.
        red: ``(V,)`` how much of the lips' red.
        polar: ``(V,)`` of an eyeball: angle from its line of sight, radians.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    lid: np.ndarray = field(default_factory=lambda: np.zeros(0))
    lid_angle: np.ndarray = field(default_factory=lambda: np.zeros(0))
    eye_side: np.ndarray = field(default_factory=lambda: np.zeros(0))
    lip: np.ndarray = field(default_factory=lambda: np.zeros(0))
    lip_side: np.ndarray = field(default_factory=lambda: np.zeros(0))
    red: np.ndarray = field(default_factory=lambda: np.zeros(0))
    polar: np.ndarray = field(default_factory=lambda: np.zeros(0))


def lid_line(angle: np.ndarray) -> np.ndarray:
    """The edge of the left eye's lids ``(N, 2)``, relative to the eyeball's middle: an almond."""
    across = np.cos(angle)
    rise = np.clip(1 - across**2, 0.0, 1.0)
    upper = 0.52 * rise**0.80 * (1 - 0.10 * across)
    lower = -0.44 * rise**0.9 * (1 + 0.12 * across)
    return np.stack((1.50 * across, np.where(np.sin(angle) >= 0, upper, lower) + 0.08 * across), -1)


def lid_surface(offset: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
    """Depth ``z`` of the dome on which the lids slide, for offsets ``(..., 2)`` from the eyeball's middle."""
    away = (offset[..., 0] / 2.15) ** 2 + (offset[..., 1] / 1.75) ** 2
    return EYE[2] + (EYE_RADII[2] + 0.07 + lift) * np.sqrt(np.clip(1 - away, 0.02, 1.0))


def lip_border(angle: np.ndarray) -> np.ndarray:
    """The border of the lips' red ``(N, 2)``: Cupid's bow above, a full curve below."""
    across = np.cos(angle)
    rise = np.clip(1 - across**2, 0.0, 1.0)
    upper = 0.66 * rise**0.95 + 0.14 * np.exp(-0.5 * ((np.abs(across) - 0.19) / 0.14) ** 2)
    upper -= 0.10 * np.exp(-0.5 * (across / 0.09) ** 2)
    lower = -0.88 * rise**0.75
    return np.stack((CORNER * across, MOUTH_LINE + np.where(np.sin(angle) >= 0, upper, lower)), -1)


def _columns() -> np.ndarray:
    """Angles round the head, from the back of the person's right over the front: dense where the face is."""
    half = np.linspace(-1, 1, FRONT_COLUMNS + 1)
    front = 0.5 * np.pi * (0.76 * half + 0.24 * half**3)
    back = np.linspace(0.5 * np.pi, 1.5 * np.pi, BACK_COLUMNS + 1)[1:-1]
    return np.concatenate((front, back))


def _levels(loft: Loft) -> np.ndarray:
    """Levels of the grid's rows: closer together where wings and nostrils of the nose are."""
    fine = np.linspace(0.012, 1.0, 2000)
    height = loft.at(np.zeros(1), fine)[:, 1]
    density = 1 + 2.0 * np.exp(-0.5 * ((height + 1.75) / 0.55) ** 2)
    grown = np.concatenate(([0.0], np.cumsum(density[1:] * np.diff(fine))))
    return np.interp(np.linspace(0, grown[-1], ROWS), grown, fine)


def _loop(rows: tuple[int, int], columns: tuple[int, int], width: int) -> np.ndarray:
    """Grid indices round a block, counter-clockwise for the viewer, from the middle of its side at the viewer's right.

    Rows count downwards, columns to the viewer's right.
    """
    (top, bottom), (left, right) = rows, columns
    middle = (top + bottom) // 2
    cells = [(row, right) for row in range(middle, top, -1)]
    cells += [(top, column) for column in range(right, left, -1)]
    cells += [(row, left) for row in range(top, bottom)]
    cells += [(bottom, column) for column in range(left, right)]
    cells += [(row, right) for row in range(bottom, middle, -1)]
    return np.array([row * width + column for row, column in cells])


def _block(grid: np.ndarray, x: tuple[float, float], y: tuple[float, float]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of the grid that enclose a rectangle of the face; the number of rows between is even."""
    middle_row = int(np.abs(grid[:, FRONT_COLUMNS // 2, 1] - 0.5 * (y[0] + y[1])).argmin())
    front = grid[middle_row, : FRONT_COLUMNS + 1, 0]
    left, right = int(np.abs(front - x[0]).argmin()), int(np.abs(front - x[1]).argmin())
    heights = grid[:, (left + right) // 2, 1]
    top, bottom = int(np.abs(heights - y[1]).argmin()), int(np.abs(heights - y[0]).argmin())
    return (top, bottom + (bottom - top) % 2), (left, right)


def _angles(count: int, outline: np.ndarray) -> np.ndarray:
    """Angles round an opening for a loop's vertices: halfway between even steps and the directions they lie in."""
    even = 2 * np.pi * np.arange(count) / count
    middle = 0.5 * (outline.max(0) + outline.min(0))
    spread = 0.5 * (outline.max(0) - outline.min(0))
    seen = np.unwrap(np.arctan2(*((outline - middle) / spread).T[::-1]))
    seen -= seen[0] - even[0]
    angle = 0.6 * even + 0.4 * seen
    for corner in (0.0, np.pi):  # a vertex must sit in each corner
        nearest = int(np.abs(angle - corner).argmin())
        angle[nearest] = corner
    return angle


def _add_eye(build: Builder, loft: Loft, outer: np.ndarray, side: int) -> None:
    """Rings from an opening of the grid to the edge of the lids, and the lining behind it."""
    boundary = np.concatenate(build.points)[outer]
    mirrored = boundary[:, :2] * [side, 1.0]  # as if it were the left eye
    if side < 0:  # the mirror turns the loop round: start at the outer corner and run counter-clockwise again
        order = np.roll(np.arange(len(outer))[::-1], 1)
        shift = int(np.abs(order - len(outer) // 2).argmin())
        order = np.roll(order, -shift)
        mirrored, outer = mirrored[order], outer[order]
    # The opening is wider towards the brow than towards the cheek, but its first vertex lies at the outer corner.
    angle = _angles(len(outer), mirrored)
    edge = lid_line(angle) + EYE[:2]
    previous = outer
    for ring in range(1, LID_RINGS + 1):
        share = ring / LID_RINGS
        flat = mirrored + (edge - mirrored) * (1 - (1 - share) ** 1.5)
        flat = flat if ring < LID_RINGS else edge
        ground = loft.find(flat[:, 0], flat[:, 1])
        away = np.hypot((flat[:, 0] - EYE[0]) / 2.5, (flat[:, 1] - EYE[1]) / 1.75)
        near = 1 - smoothstep(away, 0.62, 1.3)
        lift = 0.20 * np.sin(np.pi * np.clip((share - 0.55) / 0.45, 0, 1)) * (np.sin(angle) > 0)
        dome = lid_surface(flat - EYE[:2], lift)
        points = np.column_stack((flat, (1 - near) * ground[:, 2] + near * dome))
        lid = float(np.clip((share - 0.45) / 0.55, 0, 1)) ** 1.2
        previous = _ring(build, previous, points, side, lid=lid, lid_angle=angle, eye_side=side)
    for shrink, depth, lid in ((0.97, 0.14, 1.0), (1.15, 0.7, 0.6), (1.2, 1.6, 0.2)):
        flat = EYE[:2] + (edge - EYE[:2]) * shrink
        points = np.column_stack((flat, lid_surface(edge - EYE[:2]) - depth))
        previous = _ring(build, previous, points, side, lid=lid, lid_angle=angle, eye_side=side, lining=1.0)
    tip = build.add(np.array([[side * EYE[0], EYE[1], EYE[2] - 1.6]]), eye_side=side, lining=1.0)
    build.fan(previous if side > 0 else previous[::-1], int(tip[0]))


def _ring(
    build: Builder, previous: np.ndarray, points: np.ndarray, side: int, **values: np.ndarray | float
) -> np.ndarray:
    """Add a loop given for the left side to the given side, and join it to the loop before."""
    loop = build.add(points * [side, 1.0, 1.0], **values)
    if side > 0:
        build.band(previous, loop)
    else:
        build.band(previous[::-1], loop[::-1])
    return loop


def _add_mouth(build: Builder, loft: Loft, outer: np.ndarray) -> None:
    """Rings from the opening of the grid over the lips to the line between them, and the cavity behind."""
    outline = np.concatenate(build.points)[outer][:, :2]
    angle = 2 * np.pi * np.arange(len(outer)) / len(outer)  # even, so that both lips have the same points on their line
    border = lip_border(angle)
    upper = np.sin(angle) >= 0
    across = np.cos(angle).round(12)  # the same above and below, to the last bit
    inner = np.column_stack(
        (CORNER * 0.985 * across, np.full(len(angle), MOUTH_LINE) + 0.05 * (np.abs(across) ** 2 - 0.6))
    )
    # Near the corners both lips share what moves either.
    lip_side = np.where(upper, 1.0, -1.0) * (1 - np.abs(across) ** 8)
    previous = outer
    skin = 4
    for ring in range(1, skin + 1):
        share = ring / skin
        flat = outline + (border - outline) * (1 - (1 - share) ** 1.35)
        points = loft.find(flat[:, 0], flat[:, 1])
        points[:, 2] += 0.10 * share**3 * (1 - across**2)
        points[:, :2] = flat
        previous = build.add(points, lip=0.5 * share**2, lip_side=lip_side * share, red=1.0 if ring == skin else 0.0)
        build.band(_before(build, outer, ring), previous)
    for share, out in ((0.25, 0.30), (0.55, 0.40), (0.82, 0.24), (1.0, -0.06)):
        flat = border + (inner - border) * share
        points = loft.find(flat[:, 0], flat[:, 1])
        points[:, :2] = flat
        fullness = (1 - across**2) ** 0.6
        pout = np.where(upper, 0.85, 1.05) if share < 1.0 else 1.0  # on their line both lips are at the same place
        points[:, 2] += (out * pout + 0.05) * fullness - 0.12 * (1 - fullness)
        loop = build.add(points, lip=0.5 + 0.5 * share, lip_side=lip_side, red=1.0)
        build.band(previous, loop)
        previous = loop
    face = loft.find(inner[:, 0], inner[:, 1])[:, 2]
    up = np.where(upper, 1.0, -1.0)
    open_shape = np.abs(np.sin(angle)) ** 0.6
    for width, height, depth in ((0.98, 0.45, 0.40), (0.97, 1.25, 0.60), (0.95, 1.6, 1.8), (0.8, 1.5, 4.0)):
        flat = np.column_stack((inner[:, 0] * width, inner[:, 1] + up * height * open_shape))
        points = np.column_stack((flat, face - depth))
        loop = build.add(points, lip=1.0 if depth < 1 else 0.6, lip_side=lip_side, cavity=1.0)
        build.band(previous, loop)
        previous = loop
    tip = build.add(np.array([[0.0, MOUTH_LINE, 3.5]]), cavity=1.0)
    build.fan(previous, int(tip[0]))


def _before(build: Builder, outer: np.ndarray, ring: int) -> np.ndarray:
    """The loop before the one just added: the grid's own for the first."""
    if ring == 1:
        return outer
    last = build.count - len(outer)
    return np.arange(last - len(outer), last)


def build_mesh() -> HeadMesh:
    """The ground form of the synthetic head, about nine thousand vertices."""
    loft = Loft()
    build = Builder()
    columns = _columns()
    width = len(columns)
    levels = _levels(loft)
    grid = loft.at(columns[None], levels[:, None])
    indices = build.add(grid.reshape(-1, 3)).reshape(ROWS, width)
    crown = build.add(loft.at(np.zeros(1), np.zeros(1)))
    left, right, low, high = EYE_OPENING
    eye_left = _block(grid, (left, right), (low, high))
    mirrored = (FRONT_COLUMNS - eye_left[1][1], FRONT_COLUMNS - eye_left[1][0])
    eye_right = (eye_left[0], mirrored)
    mouth = _block(grid, (-MOUTH_OPENING[0], MOUTH_OPENING[0]), (MOUTH_OPENING[1], MOUTH_OPENING[2]))
    open_cells = np.zeros((ROWS - 1, width), dtype=bool)
    for rows, block in (eye_left, eye_right, mouth):
        open_cells[rows[0] : rows[1], block[0] : block[1]] = True
    row, column = np.nonzero(~open_cells)
    following = (column + 1) % width
    a, b = indices[row, column], indices[row, following]
    c, d = indices[row + 1, following], indices[row + 1, column]
    build.triangles += [np.stack((a, d, c), 1), np.stack((a, c, b), 1)]
    build.fan(indices[0], int(crown[0]))
    _add_eye(build, loft, _loop(*eye_left, width), 1)
    _add_eye(build, loft, _loop(*eye_right, width), -1)
    _add_mouth(build, loft, _loop(*mouth, width))
    for side in (1, -1):
        add_eyeball(build, side)
        add_ear(build, side)
    add_teeth(build, upper=True)
    add_teeth(build, upper=False)
    add_tongue(build)
    return _finish(build)


def _finish(build: Builder) -> HeadMesh:
    """Gather what was added, without the vertices that the openings left over."""
    triangles = np.concatenate(build.triangles)
    used = np.unique(triangles)
    renumber = np.full(build.count, -1)
    renumber[used] = np.arange(len(used))
    values = {
        name: build.value(name)[used]
        for name in ("lid", "lid_angle", "eye_side", "lip", "lip_side", "red", "lining", "cavity", "eyeball", "polar",
                     "tooth", "gum", "tongue", "ear", "jaw_part")
    }  # fmt: skip
    side = values["eye_side"]
    parts = {
        name: np.flatnonzero(values[key] > 0)
        for name, key in (("mouth_socket", "cavity"), ("teeth", "tooth"), ("gums", "gum"), ("tongue", "tongue"),
                          ("ears", "ear"), ("eye_lining", "lining"), ("lips", "red"))
    }  # fmt: skip
    parts["eyeball_left"] = np.flatnonzero((values["eyeball"] > 0) & (side > 0))
    parts["eyeball_right"] = np.flatnonzero((values["eyeball"] > 0) & (side < 0))
    inner = np.concatenate([parts[key] for key in parts if key not in ("ears", "lips")])
    parts["skin"] = np.setdiff1d(np.arange(len(used)), inner)
    parts["lower_jaw"] = np.flatnonzero(values["jaw_part"] > 0)
    mesh = HeadMesh(np.concatenate(build.points)[used], renumber[triangles], parts)
    for name in ("lid", "lid_angle", "eye_side", "lip", "lip_side", "red"):
        setattr(mesh, name, values[name])
    mesh.polar = values["polar"]
    return mesh
