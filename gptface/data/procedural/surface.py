"""The head's surface seen by the camera, and the light on it."""

from __future__ import annotations

import math

import numpy as np

from .canvas import FULL, Canvas, Window, clamp
from .geometry import (
    KAPPA,
    PIVOT,
    TABLE_LOW,
    TABLE_SIZE,
    TABLE_STEP,
    FaceGeometry,
    Profile,
    axis_offset,
    from_head_frame,
    pitch_depth,
    to_head_frame,
)
from .specification import FaceSpecification

__all__ = ["Light", "Surface", "table_index"]


def table_index(v: np.ndarray) -> np.ndarray:
    """Row of ``TABLE_V`` for each height."""
    index = (v - TABLE_LOW) * TABLE_STEP
    index = clamp(index, 0, TABLE_SIZE - 1)
    return index.astype(np.int32)


class Light:
    """A key light and a sky: Lambert's law for the one, more sky for what faces up."""

    def __init__(self, specification: FaceSpecification) -> None:
        s = specification
        azimuth, elevation = math.radians(s.light_azimuth), math.radians(s.light_elevation)
        self.x = math.sin(azimuth) * math.cos(elevation)
        self.y = -math.sin(elevation)
        self.z = math.cos(azimuth) * math.cos(elevation)
        warm = s.light_warmth
        key = 0.92 * s.light_strength * (1.12 - s.ambient) / 0.7
        self.key = (key * (1 + 0.07 * warm), key * 0.985, key * (0.96 - 0.12 * warm))
        self.sky = (s.ambient * (1 - 0.04 * warm), s.ambient, s.ambient * (1.04 + 0.05 * warm))
        # Halfway vector between the light and the camera (0, 0, 1).
        length = math.sqrt(self.x**2 + self.y**2 + (self.z + 1) ** 2)
        self.half_x, self.half_y, self.half_z = self.x / length, self.y / length, (self.z + 1) / length

    def lambert(self, nx: np.ndarray | float, ny: np.ndarray | float, nz: np.ndarray | float) -> np.ndarray:
        """Cosine between the normal and the light, not clipped."""
        return np.asarray(nx * self.x + ny * self.y + nz * self.z)

    def highlight(self, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray, squarings: int) -> np.ndarray:
        """Blinn's (n·h)^(2^squarings)."""
        cosine = np.maximum(nx * self.half_x + ny * self.half_y + nz * self.half_z, 0)
        for _ in range(squarings):
            cosine = cosine * cosine
        return cosine

    def irradiance(self, cosine: np.ndarray, ny: np.ndarray, occlusion: np.ndarray | float = 1.0) -> np.ndarray:
        """(3, h, w) light falling on a matte surface."""
        lit = np.maximum(cosine * 0.85 + 0.15, 0)
        sky = (0.85 - 0.25 * ny) * occlusion
        lit = lit * occlusion
        out = np.empty((3, *cosine.shape), dtype=np.float32)
        for channel in range(3):
            np.multiply(lit, self.key[channel], out=out[channel])
            out[channel] += sky * self.sky[channel]
        return out


class Surface:
    """Per pixel: head frame (x, y), face coordinates (u, v), normal of the smooth head, coverage.

    Beyond the silhouette u goes on linearly, so that shapes may stick out.
    """

    def __init__(self, canvas: Canvas, g: FaceGeometry, profile: Profile) -> None:
        self.canvas, self.geometry, self.profile = canvas, g, profile
        self.x, self.y = to_head_frame(g, canvas.x, canvas.y)
        self.v = (self.y + pitch_depth(self.x, self.y) * g.sin_pitch) / g.cos_pitch
        self.index = table_index(self.v)
        half = profile.half_width.take(self.index)
        facing = profile.facing.take(self.index)
        stretch = math.hypot(g.cos_yaw, KAPPA * g.sin_yaw)  # silhouette's half-width relative to W
        turn_cos, turn_sin = g.cos_yaw / stretch, KAPPA * g.sin_yaw / stretch
        self.x_axis = self.x - axis_offset(self.v) * g.sin_yaw
        seen = np.maximum(half * stretch, 0.02)
        ratio = self.x_axis / seen
        t = clamp(ratio, -1, 1)
        r = np.sqrt(1 - t * t)
        self.u = half * (turn_cos * t - turn_sin * r) + (ratio - t) * seen
        self.nx, self.ny, self.nz = t * facing, profile.upward.take(self.index), r * facing
        distance = (np.abs(self.x_axis) - seen) * facing
        np.maximum(distance, self.v - g.chin, out=distance)
        np.maximum(distance, g.top - self.v, out=distance)
        self.distance = distance
        self.coverage = canvas.coverage(distance, g.scale)

    def window(self, u: float, v: float, half_u: float, half_v: float, lift: float = 0.0) -> Window:
        """The pixels that can see the box |u' - u| <= half_u, |v' - v| <= half_v of the face."""
        g = self.geometry
        x, y = self.point(u, v, lift)
        # On the side turned to the camera the surface is seen more squarely than at its middle: a quarter of margin.
        cosine, sine = abs(g.cos_roll), abs(g.sin_roll)
        half_u, half_v = 1.25 * half_u * g.scale, 1.1 * half_v * g.scale
        return self.canvas.window(x, y, cosine * half_u + sine * half_v, cosine * half_v + sine * half_u)

    def band(self, v: float, half_u: float, half_v: float, lift: float = 0.0) -> Window:
        """The pixels that can see |u| <= half_u, |v' - v| <= half_v: a box around the nose's line."""
        return self.window(0.0, v, half_u, half_v, lift)

    def point(self, u: float, v: float, lift: float = 0.0) -> tuple[float, float]:
        """Image coordinates of one point of the face (``geometry.project`` for scalars)."""
        g = self.geometry
        half = float(self.profile.half_width[min(max(int((v - TABLE_LOW) * TABLE_STEP), 0), TABLE_SIZE - 1)])
        ratio = min(max(u / max(half, 1e-3), -1.0), 1.0)
        depth = KAPPA * half * math.sqrt(1 - ratio * ratio) + lift
        x = ratio * half * g.cos_yaw + (depth + 0.06 + 0.16 * v) * g.sin_yaw
        y = v
        for _ in range(3):
            front = max(0.42 - 1.3 * x * x - 0.75 * y * y, 0.0) - 0.22
            y = v * g.cos_pitch - (front + lift) * g.sin_pitch
        y -= PIVOT
        x, y = g.cos_roll * x - g.sin_roll * y, g.cos_roll * y + g.sin_roll * x + PIVOT
        return x * g.scale + g.shift_x, y * g.scale + g.shift_y

    def head_window(self, x: float, y: float, half_x: float, half_y: float) -> Window:
        """The pixels within a box of the head frame."""
        g = self.geometry
        centre_x, centre_y = from_head_frame(g, np.array(x), np.array(y))
        cosine, sine = abs(g.cos_roll), abs(g.sin_roll)
        return self.canvas.window(
            float(centre_x),
            float(centre_y),
            g.scale * (cosine * half_x + sine * half_y),
            g.scale * (cosine * half_y + sine * half_x),
        )

    def local(self, window: Window = FULL) -> tuple[np.ndarray, np.ndarray]:
        """(u, v) of the window's pixels."""
        return self.u[window], self.v[window]
