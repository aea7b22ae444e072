"""The synthetic head's expression shapes, named like ARKit's; ``_L`` is the person's left, the viewer's right."""

from __future__ import annotations

import numpy as np

from gptface.morphable.paint import smoothstep
from gptface.morphable.synthetic.mesh import HeadMesh, lid_line, lid_surface
from gptface.morphable.synthetic.skull import CORNER, EYE, EYE_RADII, MOUTH_LINE, bump

__all__ = ["expression_shapes", "jaw_share"]

HINGE = np.array([0.0, -0.9, -0.4])
"""Where the lower jaw turns: before the ears."""
JAW_ANGLE = 16.0


class _Face:
    """What every shape is made of: where a vertex is at rest, and how much each part of the face takes hold of it."""

    def __init__(self, mesh: HeadMesh, vertices: np.ndarray) -> None:
        self.mesh, self.vertices = mesh, vertices
        # The ground form's plane of the face locates what the features have since moved towards the viewer.
        self.x, self.y, self.z = mesh.vertices.T
        count = len(vertices)
        hard = np.zeros(count, dtype=bool)
        for part in ("teeth", "gums", "tongue", "eyeball_left", "eyeball_right", "ears"):
            hard[mesh.parts[part]] = True
        self.soft = np.where(hard, 0.0, 1.0)
        self.front = smoothstep(self.z, 0.5, 5.0) * self.soft
        self.outside = self.front.copy()
        for part in ("mouth_socket", "eye_lining"):
            self.outside[mesh.parts[part]] = 0.0
        self.jaw = jaw_share(mesh)
        # Upper and lower lip part at the line; away from the mouth, height tells which of them moves the skin.
        blend = np.clip(np.abs(mesh.lip_side) + 1e-9, 0, 1) ** 0.5 * np.sign(mesh.lip_side)
        by_height = np.tanh((self.y - MOUTH_LINE) / 0.5)
        near = smoothstep(mesh.lip, 0.0, 0.3)
        self.upper = 0.5 * (1 + near * blend + (1 - near) * by_height)
        self.lower = 1 - self.upper

    def at(self, place: tuple[float, float], width: float, height: float | None = None) -> np.ndarray:
        """How much the soft parts at a place of the face are taken along."""
        return bump(self.x, self.y, place, width, height) * self.front

    def move(self, share: np.ndarray, by: tuple[float, float, float]) -> np.ndarray:
        return share[:, None] * np.asarray(by)

    def mouth(self, width: float = 2.0, height: float = 1.1) -> np.ndarray:
        """The lips and the skin round them, 1 at the lips."""
        across = np.clip(np.abs(self.x) - 0.9 * CORNER, 0, None) / (0.7 * width)
        along = np.clip(np.abs(self.y - MOUTH_LINE) - 0.5, 0, None) / height
        return np.exp(-0.5 * (across**2 + along**2)) * self.front


def jaw_share(mesh: HeadMesh) -> np.ndarray:
    """How much each vertex goes with the lower jaw, 0 to 1."""
    x, y, z = mesh.vertices.T
    line = MOUTH_LINE + (9.0 - np.clip(z, 0, 9)) * 0.27
    soft = 0.25 + 1.5 * smoothstep(np.abs(x), 1.8, 4.2)
    share = smoothstep(line - y, -soft, soft)
    share *= smoothstep(z, -1.5, 2.5)
    under = smoothstep(-y, 8.6, 10.8)
    share *= 1 - under * smoothstep(-z, -8.0, -3.5)
    share *= 1 - smoothstep(-y, 9.6, 12.0)
    near = smoothstep(mesh.lip, 0.05, 0.45)
    by_lip = 0.5 - 0.5 * mesh.lip_side
    share = near * by_lip + (1 - near) * share
    for part, value in (("teeth", 0.0), ("gums", 0.0), ("tongue", 1.0), ("eyeball_left", 0.0), ("eyeball_right", 0.0),
                        ("ears", 0.0), ("eye_lining", 0.0)):  # fmt: skip
        share[mesh.parts[part]] = value
    share[mesh.parts["lower_jaw"]] = 1.0
    return share


def _turn(face: _Face, degrees: float) -> np.ndarray:
    """The lower jaw turned about its hinge."""
    angle = np.radians(degrees)
    relative = face.vertices - HINGE
    turned = relative.copy()
    turned[:, 1] = np.cos(angle) * relative[:, 1] - np.sin(angle) * relative[:, 2]
    turned[:, 2] = np.sin(angle) * relative[:, 1] + np.cos(angle) * relative[:, 2]
    return face.jaw[:, None] * (turned - relative)


def _lids(face: _Face, side: int, upper: float, lower: float) -> np.ndarray:
    """Lids slid over the eyeball: ``upper`` and ``lower`` are shares of the opening that each lid closes."""
    mesh = face.mesh
    mine = (mesh.eye_side == side) & (mesh.lid > 0)
    angle = mesh.lid_angle[mine]
    line = lid_line(angle)
    opposite = lid_line(-angle)
    share = np.where(np.sin(angle) >= 0, upper, lower)
    rise = (opposite - line)[:, 1] * share * mesh.lid[mine]
    here = mesh.vertices[mine, :2] * [side, 1.0] - EYE[:2]
    there = here + np.stack((np.zeros_like(rise), rise), 1)
    dome = smoothstep(mesh.lid[mine], 0.0, 0.4)
    offset = np.zeros_like(face.vertices)
    # A straight path cuts through the round eyeball: half-way down a lid is lifted by as much.
    lift = 0.10 * np.abs(share) * mesh.lid[mine]
    offset[mine] = np.stack((0 * rise, rise, dome * (lid_surface(there) - lid_surface(here)) + lift), 1)
    return offset


def _look(face: _Face, side: int, across: float, up: float) -> np.ndarray:
    """The eyeball turned by degrees to the viewer's right and upwards; the lids follow half-way."""
    ball = face.mesh.parts["eyeball_left" if side > 0 else "eyeball_right"]
    centre = EYE * [side, 1, 1]
    unit = (face.vertices[ball] - centre) / EYE_RADII
    a, b = np.radians(across), np.radians(-up)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    offset = _lids(face, side, -0.012 * up, 0.010 * up)
    offset[ball] = (unit @ (about_y @ about_x).T - unit) * EYE_RADII
    return offset


def _sided(face: _Face, side: int) -> dict[str, np.ndarray]:
    """The shapes of one side, without their suffix."""
    s = float(side)
    corner = (s * CORNER, MOUTH_LINE)
    upper_lip = face.mouth(1.4, 0.8) * face.upper
    lower_lip = face.mouth(1.4, 0.9) * face.lower
    half = smoothstep(s * face.x, -1.0, 1.4)
    at = face.at
    move = face.move
    smile = move(at(corner, 1.25, 1.2), (0.75 * s, 0.85, -0.55)) + move(
        at((s * 3.9, -0.9), 1.3), (0.15 * s, 0.45, 0.30)
    )
    smile += move(at((s * 1.3, -3.5), 0.9, 0.8), (0.15 * s, 0.20, -0.15)) + _lids(face, side, 0.05, 0.16)
    sneer = move(at((s * 1.3, -1.3), 0.7, 0.9), (0.12 * s, 0.50, 0.05)) + move(
        at((s * 1.2, 1.6), 0.6, 0.8), (0, 0.18, 0.12)
    )
    return {
        "browDown": move(at((s * 1.7, 4.5), 1.1, 0.8), (-0.30 * s, -0.75, 0.12))
        + move(at((s * 3.6, 4.7), 1.3, 0.7), (-0.10 * s, -0.45, 0.05)) + _lids(face, side, 0.10, 0.0),
        "browInnerUp": move(at((s * 1.3, 4.7), 1.0, 1.2), (-0.12 * s, 0.95, 0.0)),
        "browOuterUp": move(at((s * 4.2, 4.8), 1.3, 1.1), (0.05 * s, 0.85, -0.10)),
        "cheekPuff": move(at((s * 4.2, -3.7), 1.6, 1.5) * face.outside, (0.95 * s, 0.0, 0.95)),
        "cheekSquint": move(at((s * 3.6, 0.2), 1.5, 1.0), (0.05 * s, 0.55, 0.32)) + _lids(face, side, 0.0, 0.22),
        "eyeBlink": _lids(face, side, 0.96, 0.06) + move(at((s * 3.1, 4.1), 1.3, 0.5), (0, -0.12, 0)),
        "eyeLookDown": _look(face, side, 0, -26) + _lids(face, side, 0.22, 0.0),
        "eyeLookIn": _look(face, side, -26 * s, 0),
        "eyeLookOut": _look(face, side, 26 * s, 0),
        "eyeLookUp": _look(face, side, 0, 22),
        "eyeSquint": _lids(face, side, 0.26, 0.30) + move(at((s * 3.4, 0.8), 1.3, 0.7), (0, 0.30, 0.15)),
        "eyeWide": _lids(face, side, -0.34, -0.10) + move(at((s * 3.1, 4.4), 1.5, 0.6), (0, 0.15, 0)),
        "mouthDimple": move(at(corner, 0.9), (0.50 * s, 0.10, -0.60)),
        "mouthFrown": move(at(corner, 1.15, 1.3), (0.10 * s, -0.85, -0.20))
        + move(at((s * 1.4, -5.2), 1.0), (0, 0.15, 0.1)),
        "mouthLowerDown": move(lower_lip * half, (0.10 * s, -0.75, -0.05)),
        "mouthPress": move(upper_lip * half, (0, -0.16, -0.22)) + move(lower_lip * half, (0, 0.20, -0.22)),
        "mouthSmile": smile,
        "mouthStretch": move(at(corner, 1.3, 1.5), (0.95 * s, -0.40, -0.60))
        + move(at((s * 3.4, -7.0), 1.3), (0.3 * s, -0.2, 0)),
        "mouthUpperUp": move(upper_lip * half, (0.08 * s, 0.62, 0.0))
        + move(at((s * 1.6, -2.2), 0.9), (0.1 * s, 0.20, 0.05)),
        "noseSneer": sneer + move(upper_lip * half, (0.05 * s, 0.22, 0.0))
        + move(at((s * 1.5, 4.1), 0.9, 0.6), (0, -0.25, 0)),
    }  # fmt: skip


def _middle(face: _Face) -> dict[str, np.ndarray]:
    """The shapes of both sides at once."""
    move, at = face.move, face.at
    mouth = face.mouth()
    upper, lower = mouth * face.upper, mouth * face.lower
    inwards = np.column_stack((-0.52 * face.x * face.mouth(2.2, 1.3), np.zeros((len(face.x), 2))))
    whole = face.mouth(2.6, 1.9)
    opened = _turn(face, JAW_ANGLE)
    jaw_block = face.jaw
    lips = smoothstep(face.mesh.lip, 0.05, 0.6) * face.lower * face.soft
    lips = np.maximum(lips, 0.75 * face.mouth(1.6, 0.9) * face.lower)
    funnel = 0.75 * inwards + move(upper, (0, 0.42, 0.75)) + move(lower, (0, -0.48, 0.75))
    tense = 1 - np.clip((np.abs(face.x) / CORNER) ** 2, 0, 1)
    return {
        "jawForward": move(jaw_block, (0, 0, 0.95)),
        "jawLeft": move(jaw_block, (0.75, 0, 0)),
        "jawOpen": opened,
        "jawRight": move(jaw_block, (-0.75, 0, 0)),
        # Beside an open jaw the lips stay shut: the lower lip comes up, the upper one half-way down to it.
        "mouthClose": -0.80 * lips[:, None] * opened + move(upper * tense, (0, -0.55, -0.05)),
        "mouthFunnel": funnel,
        "mouthLeft": move(whole, (0.95, 0, 0)),
        "mouthPucker": inwards + move(mouth, (0, 0, 0.95)) + move(upper * tense, (0, -0.05, 0)),
        "mouthRight": move(whole, (-0.95, 0, 0)),
        "mouthRollLower": move(lower * smoothstep(face.mesh.lip, 0.3, 0.7), (0, 0.34, -0.62)),
        "mouthRollUpper": move(upper * smoothstep(face.mesh.lip, 0.3, 0.7), (0, -0.28, -0.55)),
        "mouthShrugLower": move(at((0.0, -6.6), 1.7, 1.1), (0, 0.55, 0.25)) + move(lower, (0, 0.32, 0.30)),
        "mouthShrugUpper": move(upper, (0, 0.34, 0.22)) + move(lower, (0, 0.26, 0.05)),
    }


def expression_shapes(mesh: HeadMesh, vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Name → offsets ``(V, 3)`` at weight 1, in alphabetical order."""
    face = _Face(mesh, vertices)
    shapes = _middle(face)
    for side, suffix in ((1, "_L"), (-1, "_R")):
        shapes.update({name + suffix: offset for name, offset in _sided(face, side).items()})
    return {name: shapes[name] for name in sorted(shapes)}
