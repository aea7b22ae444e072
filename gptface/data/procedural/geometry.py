"""From a specification to lengths: the shape of the head, its features under an expression, and the pose.

Two coordinate systems. *Face* coordinates (u, v): u to the image's right, v downwards, both painted on the head's
surface, 0 between the eyes; the head is about 1 wide and 1.4 high. *Image* coordinates (X, Y) in [-1, 1], Y downwards.
The head is a surface of elliptic cross-sections around a vertical axis, so that for an orthographic camera the two are
linked in closed form: at height v the section has half-width W(v), depth KAPPA·W(v), and is turned by the yaw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .specification import FaceSpecification

__all__ = [
    "EXPRESSION_SHAPES",
    "ExpressionShape",
    "FaceGeometry",
    "Profile",
    "ageing",
    "brow_centre",
    "landmarks",
    "resolve_geometry",
]

KAPPA = 0.92  # depth of the head relative to its width
BASE_SCALE = 1.3  # of the head within the image: tight as aligned crops; of hats and ties enough is left to see
BASE_Y = -0.02
PIVOT = 0.35  # height of the axis of roll, about the jaw joint
BROW_HALF = 0.145  # half the length of a brow
WIDEST = -0.06  # height at which the head is widest
TABLE_LOW, TABLE_HIGH, TABLE_SIZE = -1.4, 1.6, 1500
TABLE_V = np.linspace(TABLE_LOW, TABLE_HIGH, TABLE_SIZE, dtype=np.float32)
TABLE_STEP = (TABLE_SIZE - 1) / (TABLE_HIGH - TABLE_LOW)


@dataclass(frozen=True)
class ExpressionShape:
    """Displacements of the features at full strength, in face units (named after what the muscles do)."""

    corner: float = 0.0  # lifts the corners of the mouth
    width: float = 1.0  # of the mouth
    opening: float = 0.0  # between the lips
    parted_opening: float = 0.06  # the opening when ``mouth_open``
    squareness: float = 0.0  # of the opening: 0 lens, 1 box
    upper_lip: float = 0.0  # raises the upper lip
    lip_fullness: float = 1.0
    brow: float = 0.0  # raises the whole brow
    brow_inner: float = 0.0
    brow_outer: float = 0.0
    eye: float = 1.0  # upper lid opening
    lower_lid: float = 1.0  # lower lid opening
    cheek: float = 0.0
    wrinkle: float = 0.0  # of the nose
    frown: float = 0.0  # lines between the brows
    sneer: float = 0.0  # asymmetry of the mouth


EXPRESSION_SHAPES = {
    "neutral": ExpressionShape(),
    "happiness": ExpressionShape(
        corner=0.115, width=1.25, parted_opening=0.10, squareness=0.15, lip_fullness=0.8, brow=0.012, eye=0.74,
        lower_lid=0.45, cheek=1.0,
    ),
    "sadness": ExpressionShape(
        corner=-0.085, width=0.92, brow_inner=0.085, brow_outer=-0.035, eye=0.66, lower_lid=0.9, lip_fullness=1.05
    ),
    "anger": ExpressionShape(
        corner=-0.04, width=0.92, parted_opening=0.075, squareness=0.95, lip_fullness=0.5, brow=-0.04,
        brow_inner=-0.085, brow_outer=0.055, eye=0.95, lower_lid=0.75, frown=1.0, wrinkle=0.2,
    ),
    "surprise": ExpressionShape(
        width=0.62, opening=0.19, parted_opening=0.19, lip_fullness=0.8, brow=0.105, eye=1.55, lower_lid=1.15
    ),
    "fear": ExpressionShape(
        corner=-0.06, width=1.10, opening=0.085, parted_opening=0.085, squareness=0.9, lip_fullness=0.7, brow=0.05,
        brow_inner=0.08, brow_outer=-0.03, eye=1.6, lower_lid=1.0,
    ),
    "disgust": ExpressionShape(
        corner=-0.05, width=1.0, parted_opening=0.06, squareness=0.5, upper_lip=0.055, brow=-0.03, brow_inner=-0.03,
        brow_outer=-0.02, eye=0.40, lower_lid=0.35, cheek=0.7, wrinkle=1.0, frown=0.3, sneer=1.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class FaceGeometry:
    """Lengths and positions in face units; made by ``resolve_geometry``."""

    width: float  # half-width at the widest
    top: float
    chin: float
    jaw_exponent: float
    jaw_roundness: float
    eye_u: float
    eye_v: float
    eye_half: float
    eye_upper: float
    eye_lower: float
    eye_tilt: float
    brow_v: float
    brow_inner: float  # added to brow_v at the inner end (negative is up)
    brow_outer: float
    brow_arch: float
    brow_thickness: float
    nose_v: float  # height of the nose's base
    nose_half: float
    mouth_v: float
    mouth_half: float
    corner: float
    upper_lip: float
    lower_lip: float
    opening: float
    squareness: float
    upper_raise: float
    sneer: float
    cheek: float
    wrinkle: float
    frown: float
    neck_half: float
    ear_v: float
    hairline: float
    # Pose
    cos_yaw: float
    sin_yaw: float
    sin_pitch: float
    cos_pitch: float
    sin_roll: float
    cos_roll: float
    scale: float
    shift_x: float
    shift_y: float

    def mouth_curves(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Heights v at s = u / mouth_half in [-1, 1]: upper lip's edge, opening's top and bottom, lower lip's edge."""
        square = s * s
        lens = 1 - square
        opening = lens * (1 + self.squareness * square)
        middle = self.mouth_v - self.corner * (square - 0.45) - self.sneer * 0.032 * (s + 0.25)
        bow = lens * (1 - 0.30 * np.maximum(0, 1 - square * 16)) * (1 + 0.25 * square)
        inner_top = middle - (0.36 * self.opening + self.upper_raise) * opening
        inner_bottom = middle + (0.64 * self.opening - self.upper_raise * 0.85) * opening
        return inner_top - self.upper_lip * bow, inner_top, inner_bottom, inner_bottom + self.lower_lip * lens


def ageing(age: float) -> float:
    """How deep the traces of age are, 0 to 1: none for the young, plain from the first for those who count as old."""
    return 0.0 if age < 0.5 else 0.45 + 1.1 * (age - 0.5)


def resolve_geometry(specification: FaceSpecification) -> FaceGeometry:
    """The lengths that follow from a specification; female and male, young and old differ in proportion."""
    s = specification
    base, strength = EXPRESSION_SHAPES[s.expression], s.expression_strength
    rest = EXPRESSION_SHAPES["neutral"]

    def mixed(name: str) -> float:
        start = getattr(rest, name)
        return float(start + strength * (getattr(base, name) - start))

    male, old = float(s.male), ageing(s.age)
    opening = mixed("parted_opening") if s.lips_parted else 0.0
    lip = mixed("lip_fullness") * (1 + 0.12 * s.lip_fullness) * (1.95 if s.big_lips else 1.0) * (1 - 0.25 * old)
    heavy = float(s.double_chin)
    yaw, pitch, roll = (math.radians(angle) for angle in (s.yaw, s.pitch, s.roll))
    return FaceGeometry(
        width=0.49 + 0.018 * s.face_width + 0.008 * male + 0.03 * heavy,
        top=-0.72,
        chin=0.635
        + 0.022 * s.face_length
        + 0.02 * s.chin_length
        + 0.025 * male
        - 0.02 * heavy
        + 0.30 * max(0.0, opening - 0.03),
        jaw_exponent=2.0 + 0.6 * male + 0.22 * s.jaw_width + 0.9 * heavy + 0.2 * s.cheek_fullness,
        jaw_roundness=0.60 - 0.11 * male - 0.025 * s.jaw_width - 0.08 * heavy - 0.02 * s.cheek_fullness,
        eye_u=0.208 + 0.010 * s.eye_spacing,
        eye_v=-0.03,
        eye_half=(0.124 + 0.006 * s.eye_size) * (1.03 - 0.06 * male),
        eye_upper=(0.060 + 0.006 * s.eye_size) * (1.06 - 0.14 * male) * mixed("eye") * (1 - 0.12 * old),
        eye_lower=(0.037 + 0.003 * s.eye_size) * mixed("lower_lid"),
        eye_tilt=-0.07 - 0.06 * s.eye_tilt + 0.10 * old,
        brow_v=-0.175 - 0.010 * s.brow_height + 0.022 * male - mixed("brow"),
        brow_inner=-mixed("brow_inner"),
        brow_outer=-mixed("brow_outer") + 0.015 * old,
        brow_arch=0.030 + 0.012 * s.brow_arch - 0.014 * male,
        brow_thickness=(0.019 + 0.003 * s.brow_weight + 0.007 * male) * (1.75 if s.bushy_eyebrows else 1.0),
        nose_v=0.235 + 0.014 * s.nose_length + (0.02 if s.big_nose else 0.0) + 0.008 * male - 0.012 * mixed("wrinkle"),
        nose_half=(0.088 + 0.008 * s.nose_width + 0.008 * male) * (1.6 if s.big_nose else 1.0),
        mouth_v=0.405 + 0.010 * s.face_length,
        mouth_half=(0.180 + 0.010 * s.mouth_width + 0.008 * male) * mixed("width") * (1.06 if s.big_lips else 1.0),
        corner=mixed("corner"),
        upper_lip=(0.044 - 0.009 * male) * lip,
        lower_lip=(0.060 - 0.008 * male) * lip,
        opening=opening,
        squareness=mixed("squareness"),
        upper_raise=mixed("upper_lip"),
        sneer=mixed("sneer"),
        cheek=mixed("cheek"),
        wrinkle=mixed("wrinkle"),
        frown=mixed("frown"),
        neck_half=0.255 + 0.065 * male + 0.03 * heavy,
        ear_v=0.05,
        hairline=-0.485 - 0.018 * s.forehead - 0.03 * old * male,
        cos_yaw=math.cos(yaw),
        sin_yaw=math.sin(yaw),
        sin_pitch=math.sin(pitch),
        cos_pitch=math.cos(pitch),
        sin_roll=math.sin(roll),
        cos_roll=math.cos(roll),
        scale=BASE_SCALE * s.scale,
        shift_x=s.centre_x,
        shift_y=BASE_Y + s.centre_y,
    )


def axis_offset(v: np.ndarray | float) -> np.ndarray | float:
    """How far the axis of the head lies in front of the ears at height v: the jaw is in front, the crown behind."""
    return 0.06 + 0.16 * v


@dataclass(frozen=True)
class Profile:
    """The head's half-width by height, tabulated on ``TABLE_V`` (float32): W, and the normal's two factors.

    The normal of the surface at t = x / S is (t·facing, upward, sqrt(1 - t²)·facing) with y downwards.
    """

    half_width: np.ndarray
    facing: np.ndarray
    upward: np.ndarray

    @classmethod
    def of(cls, geometry: FaceGeometry) -> Profile:
        g = geometry
        t = np.clip((TABLE_V - WIDEST) / (g.chin - WIDEST), 0, 1)
        lower = (1 - t**g.jaw_exponent) ** g.jaw_roundness
        t = np.clip((WIDEST - TABLE_V) / (WIDEST - g.top), 0, 1)
        upper = (1 - t**2.3) ** 0.46
        half_width = (g.width * np.where(TABLE_V > WIDEST, lower, upper)).astype(np.float32)
        slope = np.zeros_like(half_width)
        slope[1:-1] = (half_width[2:] - half_width[:-2]) * (TABLE_STEP / 2)
        slope = steepened(slope, half_width)
        facing = 1 / np.sqrt(1 + slope * slope)
        return cls(half_width, facing, -slope * facing)


def steepened(slope: np.ndarray, half_width: np.ndarray) -> np.ndarray:
    """Slopes of an outline over ``TABLE_V``, bounded, and continued beyond the crown and the chin as steep as they end.

    Without that the pixels around a crown would be measured sideways and a spike would stand on it.
    """
    steep = np.float32(6)
    beyond = np.where(TABLE_V < WIDEST, steep, -steep)
    return np.where(half_width > 0, np.clip(slope, -steep, steep), beyond).astype(np.float32)


def to_head_frame(g: FaceGeometry, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates to the upright head's frame: shift, scale and roll undone."""
    x = (x - g.shift_x) / g.scale
    y = (y - g.shift_y) / g.scale - PIVOT
    return g.cos_roll * x + g.sin_roll * y, g.cos_roll * y - g.sin_roll * x + PIVOT


def from_head_frame(g: FaceGeometry, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of ``to_head_frame``."""
    y = y - PIVOT
    x, y = g.cos_roll * x - g.sin_roll * y, g.cos_roll * y + g.sin_roll * x + PIVOT
    return x * g.scale + g.shift_x, y * g.scale + g.shift_y


def pitch_depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth of the surface about its mean, by which the pitch shifts features; a paraboloid stands in for the head."""
    return np.maximum(0.42 - 1.3 * x * x - 0.75 * y * y, 0) - 0.22


def project(
    g: FaceGeometry, profile: Profile, u: np.ndarray, v: np.ndarray, lift: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Face coordinates (``lift`` above the surface) to image coordinates."""
    u, v = np.asarray(u, dtype=np.float64), np.asarray(v, dtype=np.float64)
    half = np.interp(v, TABLE_V, profile.half_width)
    ratio = np.clip(u / np.maximum(half, 1e-3), -1, 1)
    depth = KAPPA * half * np.sqrt(1 - ratio * ratio) + lift
    x = ratio * half * g.cos_yaw + (depth + axis_offset(v)) * g.sin_yaw
    y = v.copy()
    for _ in range(4):
        y = v * g.cos_pitch - (pitch_depth(x, y) + lift) * g.sin_pitch
    return from_head_frame(g, x, y)


_JAW = np.sin(np.linspace(0, np.pi / 2, 9)) ** 0.9
_BROW = np.linspace(-1, 1, 5)
_BRIDGE = np.arange(4)
_BASE = np.array([-0.85, -0.42, 0.0, 0.42, 0.85])
_EYE = np.array([-1, -0.4, 0.4, 1, 0.4, -0.4])
_EYE_ROWS = np.array([0, -1, -1, 0, 1, 1])
_LIPS = np.linspace(-1, 1, 7)
_INNER_LIPS = np.linspace(-0.85, 0.85, 5)


def landmarks(g: FaceGeometry, profile: Profile, size: int) -> np.ndarray:
    """float32 (68, 2): (x, y) in pixels, dlib's order (jaw, brows, nose, eyes, mouth; the image's left side first)."""
    # Jaw: the silhouette of the lower face from ear to ear, which the yaw does not turn.
    start = WIDEST + 0.02
    v = start + (g.chin - start) * _JAW
    half = np.interp(v, TABLE_V, profile.half_width) * math.hypot(g.cos_yaw, KAPPA * g.sin_yaw)
    heights = np.concatenate([v[:8], v[::-1]])
    jaw_x = np.concatenate([-half[:8], half[::-1]]) + axis_offset(heights) * g.sin_yaw
    # Everything else lies on the face.
    brow_u, brow_v = brow_centre(g, _BROW)
    lens = (1 - _EYE * _EYE) / 0.84
    lid = np.where(_EYE_ROWS < 0, -g.eye_upper, g.eye_lower) * lens
    tilt = g.eye_tilt * _EYE * g.eye_half
    top, _, _, bottom = g.mouth_curves(_LIPS)
    _, inner_top, inner_bottom, _ = g.mouth_curves(_INNER_LIPS)
    lips, inner = _LIPS * g.mouth_half, _INNER_LIPS * g.mouth_half
    bridge = g.eye_v + (g.nose_v - 0.045 - g.eye_v) * (_BRIDGE / 3)
    eye_u = _EYE * g.eye_half
    u = [-brow_u[::-1], brow_u, 0.0 * bridge, _BASE * g.nose_half, eye_u - g.eye_u, eye_u + g.eye_u]
    u += [lips, lips[5:0:-1], inner, inner[3:0:-1]]
    rows = [brow_v[::-1], brow_v, bridge, g.nose_v + 0.02 * (1 - _BASE * _BASE), g.eye_v + lid - tilt]
    rows += [g.eye_v + lid + tilt, top, bottom[5:0:-1], inner_top, inner_bottom[3:0:-1]]
    lift = np.zeros(51)
    lift[10:14] = 0.03 + 0.03 * _BRIDGE
    lift[14:19] = 0.05
    lift[31:] = 0.03
    x, y = project(g, profile, np.concatenate(u), np.concatenate(rows), lift)
    jaw_x, jaw_y = from_head_frame(g, jaw_x, heights * g.cos_pitch)
    pixels = np.stack([np.concatenate([jaw_x, x]), np.concatenate([jaw_y, y])], axis=1)
    pixels = (pixels + 1) * (size / 2)
    return np.minimum(np.maximum(pixels, 0), size - 0.001).astype(np.float32)


def brow_centre(g: FaceGeometry, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(u, v) of the brow on the image's right; s runs from the inner end, -1, to the outer, 1."""
    inner, outer, shift = 1 - s, 1 + s, s - 0.25
    v = (g.brow_v + 0.02 - g.brow_arch) + g.brow_arch * shift * shift
    v += (g.brow_inner * 0.25) * inner * inner
    v += (g.brow_outer * 0.25) * outer * outer
    return g.eye_u + 0.01 + s * BROW_HALF, v
