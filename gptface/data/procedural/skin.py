"""Skin: the relief of the face, its colour and its shading."""

from __future__ import annotations

import numpy as np

from .canvas import FULL, Canvas, clamp
from .geometry import ageing
from .randomness import noise_texture
from .specification import Colour, FaceSpecification
from .surface import Light, Surface

__all__ = ["Skin", "noise_at", "skin_colour"]

# Linear RGB albedo from the lightest to the darkest skin.
_TONES = np.array(
    [
        (0.84, 0.63, 0.52),
        (0.74, 0.49, 0.365),
        (0.60, 0.36, 0.24),
        (0.42, 0.225, 0.135),
        (0.25, 0.122, 0.068),
        (0.135, 0.064, 0.038),
    ]
)


def skin_colour(tone: float, warmth: float = 0.0, pale: bool = False) -> Colour:
    """Linear RGB albedo of a skin tone in [0, 1]."""
    position = (0.0 if pale else tone) * (len(_TONES) - 1)
    low = min(int(position), len(_TONES) - 2)
    red, green, blue = (_TONES[low] + (position - low) * (_TONES[low + 1] - _TONES[low])).tolist()
    if pale:
        # A light skin without colour; a dark one lightened keeps a trace of what it was.
        red, green, blue = 0.885 - 0.07 * tone, 0.715 - 0.08 * tone, 0.635 - 0.10 * tone
    return red, green * (1 + 0.03 * warmth), blue * (1 - 0.07 * warmth)


def noise_at(name: str, rows: np.ndarray, columns: np.ndarray, cells: tuple[int, int] = (8, 8)) -> np.ndarray:
    """The noise texture at float texel positions (nearest, periodic): values in about [-1, 1]."""
    texture = noise_texture(name, 256, *cells)
    flat = rows.astype(np.int32)
    flat &= 255
    flat <<= 8
    flat += columns.astype(np.int32) & 255
    return texture.ravel().take(flat)


class Skin:
    """Builds up relief, occlusion, redness and darkness over the face, then shades it.

    ``light`` (3, H, W) is the irradiance left for what is painted on the skin afterwards (lips, brows, eyes).
    """

    def __init__(self, canvas: Canvas, surface: Surface, light: Light, specification: FaceSpecification) -> None:
        self.canvas, self.surface, self.key_light, self.specification = canvas, surface, light, specification
        shape = (canvas.size, canvas.size)
        self.relief = np.zeros(shape, dtype=np.float32)
        self.occlusion = np.ones(shape, dtype=np.float32)
        self.redness = np.zeros(shape, dtype=np.float32)
        self.light = np.empty((3, *shape), dtype=np.float32)
        self.albedo = skin_colour(specification.skin_tone, specification.skin_warmth, specification.pale_skin)

    def bump(
        self,
        u: float,
        v: float,
        half_u: float,
        half_v: float,
        height: float = 0.0,
        occlusion: float = 0.0,
        redness: float = 0.0,
        lift: float = 0.0,
    ) -> None:
        """Add (1 - r²)² over an ellipse of the face to the relief, with less light and more blood.

        Where u > 0 it is done on both sides. ``lift`` is how far the place stands out: it moves against the surface
        when the head turns.
        """
        g = self.surface.geometry
        window = self.surface.band(v, u + half_u, half_v, lift)
        v -= lift * g.sin_pitch
        du = self.surface.u[window]
        if lift:
            du = du - lift * g.sin_yaw
        if u > 0:
            du = np.abs(du)
            du -= u
        du = du * (1 / half_u)
        dv = self.surface.v[window] - v
        dv *= 1 / half_v
        du *= du
        dv *= dv
        du += dv
        np.subtract(1, du, out=du)
        np.maximum(du, 0, out=du)
        du *= du
        if height:
            self.relief[window] += du * height
        if redness:
            self.redness[window] += redness * du
        if occlusion:
            du *= -occlusion
            du += 1
            self.occlusion[window] *= du

    def sculpt(self) -> None:
        """The relief that every face has, and what age, expression and weight add to it."""
        s, g = self.specification, self.surface.geometry
        old = ageing(s.age)
        wide = g.nose_half
        # Eyes: brow ridge, socket, its inner corner, the bag below
        self.bump(g.eye_u, g.brow_v + 0.02, 0.20, 0.09, height=0.022 + 0.012 * s.male)
        self.bump(g.eye_u * 0.98, g.eye_v - 0.015, 0.19, 0.125, height=-0.030, occlusion=0.24)
        self.bump(0.085, g.eye_v - 0.02, 0.07, 0.11, height=-0.012, occlusion=0.20)
        self.bump(g.eye_u, g.eye_v + 0.095, 0.15, 0.06, occlusion=0.06 + 0.20 * old, redness=-0.2, height=-0.006 * old)
        # Cheekbones, temples, hollows of the cheeks, forehead
        lifted = 0.15 - 0.03 * g.cheek
        self.bump(0.30, lifted, 0.19, 0.17, height=0.028 + 0.022 * g.cheek, redness=0.35 + 0.3 * g.cheek)
        self.bump(0.46, -0.18, 0.14, 0.2, height=-0.018, occlusion=0.05)
        hollow = -0.012 - 0.01 * (1 - s.double_chin)
        self.bump(0.31 + 0.03 * g.wrinkle, 0.36, 0.13, 0.16, height=hollow, occlusion=0.05)
        self.bump(0.0, -0.36, 0.42, 0.24, height=0.02)
        # Nose: bridge, tip, wings, flanks, the shadow below
        self.bump(0.0, 0.06, 0.055 + 0.25 * (wide - 0.08), 0.26, height=0.045, lift=0.05)
        self.bump(
            0.0, g.nose_v - 0.055, wide * 0.92, 0.085 + 0.3 * (wide - 0.09), height=0.080, lift=0.10, redness=0.35
        )
        self.bump(wide * 0.74, g.nose_v - 0.035, wide * 0.55, 0.058, height=0.034, lift=0.05, redness=0.25)
        self.bump(wide * 1.28, g.nose_v - 0.03, 0.05, 0.09, occlusion=0.24, lift=0.02)
        self.bump(wide * 0.85, g.nose_v - 0.17, 0.065, 0.16, occlusion=0.13, lift=0.02)
        self.bump(0.0, g.nose_v + 0.035, wide * 1.15, 0.045, occlusion=0.32, lift=0.03)
        # Mouth and chin
        self.bump(0.0, g.mouth_v - 0.02, 0.24, 0.17, height=0.028)
        below = g.mouth_v + g.lower_lip + 0.64 * g.opening + 0.055
        self.bump(0.0, below, 0.15, 0.05, height=-0.016, occlusion=0.20)
        self.bump(0.0, g.chin - 0.085, 0.15, 0.11, height=0.034)
        # The fold from nose to mouth deepens with age, laughter and disgust.
        fold = min(0.08 + 0.27 * old + 0.22 * g.cheek + 0.30 * g.wrinkle, 0.45)
        mouth_corner = (g.mouth_half + 0.055, g.mouth_v - 0.01 - g.corner * 0.6)
        self.crease((wide + 0.045, g.nose_v - 0.03), mouth_corner, 0.042, fold)
        if s.rosy_cheeks:
            self.bump(0.29, 0.17 - 0.02 * g.cheek, 0.20, 0.16, redness=3.7 + 3.0 * s.skin_tone)
        if g.frown:
            self.crease((0.035, -0.20), (0.045, -0.10), 0.022, 0.5 * g.frown)
        if g.wrinkle:
            self.bump(0.0, -0.02, 0.10, 0.035, occlusion=0.30 * g.wrinkle, lift=0.04)
            self.bump(0.0, 0.055, 0.11, 0.03, occlusion=0.30 * g.wrinkle, lift=0.04)
        if old:
            for height in (-0.36, -0.295):
                self.crease((0.0, height), (0.24, height + 0.01), 0.024, 0.42 * old)
            self.crease((0.10, 0.085), (0.29, 0.075), 0.03, 0.36 * old)
            self.crease((g.mouth_half + 0.02, g.mouth_v + 0.04), (0.20, 0.55), 0.028, 0.32 * old)
            self.bump(0.26, 0.53, 0.13, 0.10, height=0.02 * old)
        elif g.brow_v < -0.235:  # raised brows wrinkle even a young forehead
            self.crease((0.0, -0.365), (0.22, -0.36), 0.02, 0.18)

    def crease(self, start: tuple[float, float], end: tuple[float, float], width: float, strength: float) -> None:
        """A soft dark line from start to end (u, v), u >= 0, and its mirror image: distance to a segment."""
        window = self.surface.band(
            (start[1] + end[1]) / 2, max(start[0], end[0]) + width, abs(start[1] - end[1]) / 2 + width
        )
        du, dv = np.abs(self.surface.u[window]) - start[0], self.surface.v[window] - start[1]
        along_u, along_v = end[0] - start[0], end[1] - start[1]
        squared = along_u * along_u + along_v * along_v
        position = clamp(du * (along_u / squared) + dv * (along_v / squared), 0, 1)
        du -= position * along_u
        dv -= position * along_v
        weight = np.maximum(0, 1 - (du * du + dv * dv) * (1 / (width * width)))
        self.occlusion[window] *= 1 - strength * weight * weight

    def shade(self) -> None:
        """Paint the head, label it skin (and nose), and keep the light for the features."""
        canvas, surface, light, s = self.canvas, self.surface, self.key_light, self.specification
        g = surface.geometry
        nx, ny, nz = surface.nx, surface.ny, surface.nz
        slope = g.scale / (2 * canvas.pixel) * 0.8
        relief = self.relief
        tilt_x, tilt_y = np.zeros_like(relief), np.zeros_like(relief)
        tilt_x[:, 1:-1] = (relief[:, 2:] - relief[:, :-2]) * slope
        tilt_y[1:-1] = (relief[2:] - relief[:-2]) * slope
        nx, ny = nx - tilt_x, ny - tilt_y
        length = 1 / np.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx * length, ny * length, nz * length
        cosine = light.lambert(nx, ny, nz)
        # Skin darkens towards its silhouette less than clay; under the jaw and at the rim it occludes itself.
        rim = np.minimum(1, 0.62 + 0.55 * surface.nz)
        occlusion = self.occlusion * rim
        # Light bleeds through skin, red farthest: the shadow's edge is wider in red (wrapped diffuse lighting).
        sky = (0.86 - 0.22 * ny) * occlusion
        for channel, wrap in enumerate((0.34, 0.20, 0.14)):
            lit = cosine * (1 / (1 + wrap))
            lit += wrap / (1 + wrap)
            np.maximum(lit, 0, out=lit)
            lit *= occlusion
            lit *= light.key[channel]
            lit += sky * light.sky[channel]
            self.light[channel] = lit
        offset = s.texture_seed & 255
        # Mottled skin: blotches and, for the old, spots.
        mottle = noise_at(
            "skin", (surface.v + 2) * 96 + offset, (surface.u + 2) * 96 + (s.texture_seed >> 8 & 255), (16, 16)
        )
        redness = self.redness + 0.35 * mottle
        tint = (1 + 0.035 * redness, 1 - 0.085 * redness, 1 - 0.075 * redness)
        shine = light.highlight(nx, ny, nz, 4) * (0.10 + 0.03 * (1 - s.skin_tone))
        shine *= occlusion
        target = canvas.colour
        for channel in range(3):
            colour = self.light[channel] * tint[channel]
            colour *= self.albedo[channel]
            colour += shine * light.key[channel]
            colour -= target[channel]
            colour *= surface.coverage
            target[channel] += colour
        np.copyto(canvas.region, 1, where=surface.coverage > 0.5)

    def label_nose(self) -> None:
        """The nose's region: a bridge that widens to the wings."""
        g = self.surface.geometry
        window = self.surface.window(0.0, 0.1, g.nose_half * 1.2, g.nose_v - 0.02, lift=0.06)
        u, v = self.surface.local(window)
        u = u - 0.06 * g.sin_yaw
        half = g.nose_half * (0.42 + 0.68 * clamp((v + 0.06) / (g.nose_v + 0.02), 0, 1) ** 2)
        inside = (np.abs(u) < half) & (v > -0.07) & (v < g.nose_v + 0.025)
        inside &= self.canvas.region[window] == 1
        np.copyto(self.canvas.region[window], 4, where=inside)

    def shadow(self, amount: np.ndarray) -> None:
        """Darken the skin by a share (hair's and a hat's shadow), before ``shade``."""
        self.occlusion *= 1 - amount

    def lit(self, window: tuple[slice, slice] = FULL) -> np.ndarray:
        return self.light[:, window[0], window[1]]
