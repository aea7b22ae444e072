"""Hair: outlines of the cuts, strands, sheen."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, clamp
from .geometry import TABLE_STEP, TABLE_V, WIDEST, FaceGeometry, Profile, steepened
from .skin import noise_at
from .specification import Colour, FaceSpecification
from .surface import Light, Surface

__all__ = ["Hair", "hair_colour"]

_COLOURS: dict[str, tuple[Colour, Colour]] = {  # darkest and lightest of each class, linear RGB
    "black": ((0.008, 0.007, 0.008), (0.022, 0.018, 0.018)),
    "brown": ((0.085, 0.038, 0.016), (0.19, 0.090, 0.038)),
    "blond": ((0.48, 0.30, 0.095), (0.74, 0.55, 0.25)),
    "gray": ((0.33, 0.33, 0.345), (0.66, 0.66, 0.67)),
}
_THICKNESS = {"crop": (0.022, 0.010), "short": (0.085, 0.045), "curly": (0.17, 0.17), "updo": (0.05, 0.025)} | {
    "bob": (0.10, 0.08),
    "long": (0.095, 0.07),
}


def hair_colour(specification: FaceSpecification) -> Colour:
    """Linear RGB albedo of the hair."""
    dark, light = _COLOURS[specification.hair_colour]
    share = min(max(0.5 + 0.5 * specification.hair_shade, 0.0), 1.0)
    red, green, blue = (a + share * (b - a) for a, b in zip(dark, light, strict=True))
    return red, green, blue


class Hair:
    """The hair of one head: ``outer`` is its half-width by height, ``opening`` the distance to the bare face's edge."""

    def __init__(self, canvas: Canvas, surface: Surface, profile: Profile, specification: FaceSpecification) -> None:
        self.canvas, self.surface, self.specification = canvas, surface, specification
        self.colour = hair_colour(specification)
        self.falls = specification.hair_cut in ("bob", "long")
        self.curly = specification.hair_cut == "curly"
        s, g = specification, surface.geometry
        self.outer = self._outline(g, profile)
        if s.hat:  # pressed down under the crown of the hat
            self.crown = g.top - 0.04
            self.outer = np.where(TABLE_V < -0.34, np.minimum(self.outer, g.width + 0.03), self.outer)
        slope = np.zeros_like(self.outer)
        slope[1:-1] = (self.outer[2:] - self.outer[:-2]) * np.float32(TABLE_STEP / 2)
        slope = steepened(np.maximum(slope, -1), self.outer)  # cut ends are no crowns
        self.facing = 1 / np.sqrt(1 + slope * slope)
        # Hair sits on the skull, behind the face's axis.
        self.x = surface.x - (0.02 + 0.10 * np.minimum(surface.v, 0.1)) * g.sin_yaw
        offset = s.texture_seed & 255
        outer = self.outer.take(surface.index)
        if (s.wavy and self.falls) or self.curly:
            outer = outer + self._waves(offset) * clamp((surface.v + (0.28 if s.hat else 0.55)) * 3, 0, 1)
        self.half = np.maximum(outer, 0.02)
        self.across = self.x / self.half
        self.size = np.abs(self.x)
        shift = self._strand_shift(offset)
        self.strands = self._strand_noise(shift, offset)
        rough = 0.010 if s.wavy or self.curly else 0.006
        distance = (self.size - outer) * self.facing.take(surface.index) + rough * self.strands
        np.maximum(distance, self.crown - surface.v, out=distance)
        np.copyto(distance, np.float32(1.0), where=(outer <= 0) & (surface.v > WIDEST))
        self.distance = distance
        self.opening = self._opening(g)

    def _outline(self, g: FaceGeometry, profile: Profile) -> np.ndarray:
        s = self.specification
        v = TABLE_V
        above, beside = _THICKNESS[s.hair_cut]
        swell = 1 + (0.30 * s.hair_volume if s.hair_cut != "crop" else 0)
        above, beside = above * swell, beside * swell
        span = WIDEST - g.top
        self.crown = g.top - above
        t = clamp((WIDEST - v) / (span + above), 0, 1)
        cap = (g.width + beside) * (1 - t**2.35) ** 0.47
        if s.hair_cut == "curly":
            radius = g.width + beside + 0.02
            reach = 0.05 if s.male else 0.42 + 0.05 * s.hair_length
            puff = np.maximum(0, 1 - clamp((v - reach) / 0.24, 0, 1) ** 2) ** 0.5
            return (np.where(v < WIDEST, cap, radius) * puff).astype(np.float32)
        if not self.falls:
            end = 0.10
            taper = clamp((v - WIDEST) / (end - WIDEST), 0, 1)
            side = profile.half_width + beside * (1 - taper)
            return np.where(v < WIDEST, cap, np.where(v < end + 0.05, side, 0)).astype(np.float32)
        width = g.width + beside
        if s.hair_cut == "bob":
            end = 0.50 + 0.06 * s.hair_length
            side = width + 0.085 * np.sin(clamp((v - WIDEST) / (end - WIDEST), 0, 1) * 2.4)
            close = clamp((v - end + 0.10) / 0.16, 0, 1)
            side = side * (1 - 0.30 * close * close)
        else:
            end = 1.05 + 0.12 * s.hair_length
            side = width + 0.055 * clamp((v - WIDEST) / 0.7, 0, 1) ** 1.4 + 0.02 * np.sin((v - WIDEST) * 6)
        side = np.where(v < end + 0.02, side, 0)
        return np.where(v < WIDEST, cap, side).astype(np.float32)

    def _waves(self, offset: int) -> np.ndarray:
        surface = self.surface
        if self.curly:
            return 0.040 * noise_at("curls", (surface.y + 2) * 80 + offset, (surface.x + 2) * 80, (8, 8))
        phase = np.float32(offset * 0.7)
        return 0.034 * np.sin(surface.v * 15 + phase + np.sign(self.x) * 0.9)

    def _strand_shift(self, offset: int) -> np.ndarray | float:
        s, surface = self.specification, self.surface
        if s.wavy and self.falls:
            return (
                0.085
                * np.sin(surface.v * 15 + np.float32(offset * 0.7) + self.across * 2.0)
                * clamp((surface.v + 0.62) * 2.5, 0, 1)
            )
        return 0.0

    def _strand_noise(self, shift: np.ndarray | float, offset: int) -> np.ndarray:
        s, surface = self.specification, self.surface
        if self.curly:
            # Ridges of a warped, turned noise: coils that follow no grid
            warp = 6 * noise_at("locks", (surface.y + 2) * 70, (surface.x + 2) * 70 + offset, (16, 16))
            rows = (0.8 * surface.y + 0.6 * surface.x + 4) * 96 + offset + warp
            columns = (0.8 * surface.x - 0.6 * surface.y + 4) * 96 + warp
            return 0.85 - 2.1 * np.abs(noise_at("curls", rows, columns, (8, 8)))
        if s.hair_cut == "short" and not s.bangs:  # combed to one side
            shift = (0.55 if s.hair_part > 0 else -0.55) * (surface.v + 0.7)
        column = (self.across + shift + 2) * 128 + offset
        locks = noise_at("locks", surface.v * 40 + 64, column, (32, 16))
        # Single strands are drawn where the pixels can hold them; in smaller pictures they would be mere noise.
        fine = noise_at("hair", surface.v * 40 + 64 + offset, column * 2, (32, 8))
        return 0.75 * locks + 0.6 * min(max((self.canvas.size - 32) / 160, 0.15), 1.0) * fine

    def _opening(self, g: FaceGeometry) -> np.ndarray:
        """Distance (negative inside) to the part of the face that hair leaves bare."""
        s, u, v = self.specification, self.surface.u, self.surface.v
        size = np.abs(u)
        if s.bangs and not s.hat:
            line = -0.175 - 0.055 + 0.028 * self.strands + 0.22 * u * u
        else:
            lean = u * s.hair_part
            temple = size * (1 / 0.44)
            temple *= temple
            recede = 0.05 if s.male else 0.0
            line = (
                g.hairline
                - recede * temple * (1.4 - temple)
                + 0.17 * temple * temple * temple
                - 0.16 * lean
                + 0.012 * self.strands
            )
            if self.falls or s.hair_cut == "short":
                # A parting: the hair leaves it to both sides.
                away = np.abs(u + 0.22 * s.hair_part)
                line = line - 0.05 * clamp(1 - away * 5, 0, 1)
        if self.falls:
            curtain = 0.415 + 0.035 * clamp((v + 0.25) * 3, 0, 1) - 0.10 * clamp((v - 0.35) * 2.5, 0, 1)
            curtain = curtain - 0.012 * s.hair_volume + 0.010 * self.strands
        elif self.curly and not s.male:
            curtain = 0.44 + 0.02 * self.strands
        elif s.hair_cut == "updo":
            curtain = 0.455 + 0.9 * np.maximum(v + 0.10, 0)
        else:
            curtain = 0.445 + 0.03 * self.strands * 0.3 + 0.35 * np.maximum(v + 0.02, 0)
        return np.maximum(line - v, size - curtain)

    def skin_shadow(self) -> np.ndarray:
        """Share of the light that the hair keeps from the skin near it."""
        return 0.42 * clamp(1 + self.opening * (1 / 0.075), 0, 1)

    def paint_back(self, light: Light) -> None:
        """What hangs behind the neck, and a knot on top."""
        s, surface, canvas = self.specification, self.surface, self.canvas
        g = surface.geometry
        if s.hair_cut == "updo" and not s.hat:
            x, y = surface.x + 0.10 * g.sin_yaw, surface.y + 0.80
            radius = 0.17 + 0.015 * s.hair_volume
            squared = (x * x + y * y * 1.25) * (1 / (radius * radius))
            distance = (np.sqrt(squared) - 1) * radius + 0.006 * self.strands
            nz = np.sqrt(np.maximum(1 - squared, 0))
            cosine = light.lambert(x * (1 / radius), y * (1 / radius), nz)
            swirl = noise_at("locks", np.sqrt(squared) * 30, (x - y + 3) * 300, (32, 8))
            canvas.paint(
                canvas.coverage(distance, g.scale),
                self.colour,
                light=light.irradiance(cosine, y * (1 / radius), 0.75 + 0.35 * swirl),
                label="hair",
            )
        if self.falls or (self.curly and not s.male):
            shade = (0.34 + 0.16 * self.strands).astype(np.float32)
            cosine = light.lambert(self.across, 0.0, 0.5)
            canvas.paint(
                canvas.coverage(self.distance, g.scale),
                self.colour,
                light=light.irradiance(cosine, np.zeros_like(shade), shade),
                label="hair",
            )

    def paint_front(self, light: Light) -> None:
        """The cap on the skull, and what falls beside the face."""
        s, surface, canvas = self.specification, self.surface, self.canvas
        g = surface.geometry
        alpha = canvas.coverage(self.distance, g.scale)
        alpha *= 1 - canvas.coverage(self.opening, g.scale)
        if s.hair_cut == "crop":
            alpha *= 0.90
        if self.falls:
            # Locks in front of the shoulders thin out towards their ends.
            end = 0.60 + 0.06 * s.hair_length if s.hair_cut == "bob" else 0.92 + 0.10 * s.hair_length
            tips = surface.v - end + 0.10 * np.abs(self.across) + 0.05 * self.strands
            alpha *= clamp(0.5 - tips * 12, 0, 1)
        nx = clamp(self.across, -0.97, 0.97)
        ny = clamp((surface.v - WIDEST - 0.02) * (1 / 0.74), -0.97, 0)
        if self.falls:
            ny = ny + 0.10 * np.sin(surface.v * 9)
        nx = nx * np.sqrt(np.maximum(1 - ny * ny, 0))
        nx = nx + 0.16 * self.strands
        nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.02))
        cosine = light.lambert(nx, ny, nz)
        depth = 0.78 + 0.30 * self.strands
        if not self.curly:
            away = np.abs(surface.u + 0.22 * s.hair_part)
            if not s.bangs and s.hair_cut in ("short", "bob", "long"):
                depth = depth * (1 - 0.5 * clamp(1 - away * 22, 0, 1) * (surface.v < g.hairline + 0.05))
        else:
            depth = 0.72 + 0.42 * self.strands
        irradiance = light.irradiance(cosine, ny, depth)
        # Sheen: strands are cylinders, bright where square to the halfway vector (Kajiya and Kay 1989).
        along = light.half_y - ny * (nx * light.half_x + ny * light.half_y + nz * light.half_z) + 0.12 * self.strands
        along *= along
        sheen = np.maximum(1 - along * 2.2, 0)
        sheen *= sheen
        sheen *= sheen
        sheen *= (0.16 if self.curly else 0.42) * np.maximum(cosine, 0) * (0.75 + 0.5 * self.strands)
        colour = np.empty_like(irradiance)
        for channel in range(3):
            albedo = self.colour[channel]
            np.multiply(irradiance[channel], albedo, out=colour[channel])
            colour[channel] += sheen * (0.45 * albedo + 0.035) * light.key[channel]
        canvas.paint(alpha, colour, label="hair")
