"""What lies in front of the face: glasses, sunglasses, a medical mask, a hand."""

from __future__ import annotations

import math

import numpy as np

from .canvas import Canvas, clamp
from .skin import Skin, skin_colour
from .specification import FaceSpecification
from .surface import Light, Surface

__all__ = ["paint_glasses", "paint_occluder"]


def _lens_distance(
    surface: Surface, window: tuple[slice, slice], sign: float, half: float, height: float, roundness: float
) -> np.ndarray:
    """Signed distance to a lens: a rounded box around an eye, standing off the face."""
    g = surface.geometry
    u = surface.u[window] - sign * 0.222 - 0.05 * g.sin_yaw
    v = surface.v[window] - g.eye_v - 0.012 + 0.05 * g.sin_pitch
    radius = (0.3 + 0.7 * roundness) * height
    du = np.maximum(np.abs(u) - half + radius, 0)
    dv = np.maximum(np.abs(v) - height + radius, 0)
    return np.sqrt(du * du + dv * dv) - radius


def paint_glasses(canvas: Canvas, surface: Surface, skin: Skin, light: Light, s: FaceSpecification) -> None:
    """Rims, bridge and temples; clear lenses with a faint reflection."""
    g = surface.geometry
    half, height = 0.180 - 0.018 * s.glasses_roundness, 0.125 + 0.03 * s.glasses_roundness
    window = surface.window(0.0, g.eye_v, 0.52, 0.22, lift=0.05)
    u, v = surface.local(window)
    shifted = u - 0.05 * g.sin_yaw
    level = v - g.eye_v + 0.05 * g.sin_pitch
    left = _lens_distance(surface, window, -1.0, half, height, s.glasses_roundness)
    right = _lens_distance(surface, window, 1.0, half, height, s.glasses_roundness)
    lens = np.minimum(left, right)
    rim = np.abs(lens) - 0.0165
    bridge = np.maximum(
        np.abs(level + 0.035 - 0.9 * shifted * shifted * 4) - 0.015, np.abs(shifted) - (0.222 - half) - 0.01
    )
    temple = np.maximum(
        np.maximum(np.abs(level + 0.045) - 0.015, 0.222 + half - np.abs(shifted)), surface.distance[window] - 0.03
    )
    frame = np.minimum(np.minimum(rim, bridge), temple)
    inside = canvas.coverage(lens, g.scale)
    glare = clamp(1 - np.abs(shifted * 0.6 + level * 1.0 + 0.06 - 0.22 * np.sign(shifted)) * 12, 0, 1)
    canvas.paint(inside * (0.05 + 0.16 * glare), (0.9, 0.95, 1.0), window)
    canvas.paint(
        0.35 * canvas.coverage(np.abs(lens - 0.03) - 0.02, g.scale), (0.05, 0.03, 0.02), window, skin.lit(window)
    )
    lit = clamp(0.75 - 2.2 * level, 0.5, 1.4)
    colour = np.stack([np.full_like(lit, channel) * lit + 0.008 for channel in s.glasses_colour])
    canvas.paint(0.96 * canvas.coverage(frame, g.scale), colour, window, None, "glasses")


def _sunglasses(canvas: Canvas, surface: Surface, light: Light, s: FaceSpecification) -> None:
    g = surface.geometry
    half, height = 0.190, 0.132
    window = surface.window(0.0, g.eye_v, 0.54, 0.24, lift=0.05)
    u, v = surface.local(window)
    shifted = u - 0.05 * g.sin_yaw
    level = v - g.eye_v + 0.05 * g.sin_pitch
    lens = np.minimum(
        _lens_distance(surface, window, -1.0, half, height, 0.55),
        _lens_distance(surface, window, 1.0, half, height, 0.55),
    )
    bridge = np.maximum(np.abs(level + 0.06) - 0.024, np.abs(shifted) - 0.08)
    temple = np.maximum(
        np.maximum(np.abs(level + 0.06) - 0.020, 0.38 - np.abs(shifted)), surface.distance[window] - 0.03
    )
    whole = np.minimum(np.minimum(lens - 0.014, bridge), temple)
    alpha = canvas.coverage(whole, g.scale)
    # The sky's reflection fades downwards; a glint where the light comes from
    sky = 0.030 + 0.16 * clamp(0.15 - level * 1.6, 0, 0.4)
    du, dv = np.abs(shifted) - 0.222 - 0.05 * light.x * np.sign(shifted), level + 0.055
    glint = clamp(1 - (du * du + dv * dv) * (1 / 0.0022), 0, 1)
    colour = np.stack(
        [s.occluder_colour[channel] + sky * tint + 0.5 * glint for channel, tint in enumerate((0.75, 0.85, 1.0))]
    )
    canvas.paint(alpha, colour, window, None, "occluder")
    canvas.occluder[window] |= alpha > 0.5


def _medical_mask(canvas: Canvas, surface: Surface, light: Light, s: FaceSpecification) -> None:
    g = surface.geometry
    window = surface.window(0.0, 0.36, 0.6, 0.48, lift=0.04)
    u, v = surface.local(window)
    shifted = u - 0.05 * g.sin_yaw
    size = np.abs(shifted)
    top = 0.085 - 0.045 * clamp(1 - size * 7, 0, 1) + 0.28 * size * size
    low = g.chin + 0.015 - 0.50 * size * size
    distance = np.maximum(np.maximum(top - v, v - low), np.maximum(size - 0.455, surface.distance[window] - 0.012))
    # Straps run to the ears.
    for height, slope in ((0.15, -0.5), (0.46, -0.9)):
        strap = np.abs(v - height - slope * (size - 0.42)) - 0.013
        distance = np.minimum(distance, np.maximum(strap, np.maximum(0.42 - size, surface.distance[window] - 0.02)))
    alpha = canvas.coverage(distance, g.scale)
    # A tent over the nose, pleats, a seam along the upper border
    ridge = clamp(1 - size * 3.2, 0, 1)
    nx = surface.nx[window] * 0.8 + 0.55 * np.sign(shifted) * ridge * clamp(size * 12, 0, 1) * clamp(
        (0.42 - v) * 3, 0, 1
    )
    ny = surface.ny[window] * 0.6 + clamp((v - 0.30) * 1.1, -0.4, 0.45)
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.1))
    pleats = np.minimum(np.minimum(np.abs(v - 0.25), np.abs(v - 0.36)), np.abs(v - 0.47))
    fold = 1 - 0.26 * clamp(1 - pleats * 38, 0, 1) * clamp((0.43 - size) * 20, 0, 1)
    fold *= 1 - 0.25 * clamp(1 - np.abs(v - top - 0.03) * 45, 0, 1)
    canvas.paint(alpha, s.occluder_colour, window, light.irradiance(light.lambert(nx, ny, nz), ny, fold), "occluder")
    canvas.occluder[window] |= alpha > 0.5


def _hand(canvas: Canvas, surface: Surface, light: Light, s: FaceSpecification) -> None:
    """Four fingers and a palm laid over part of the face."""
    g = surface.geometry
    side = 1.0 if s.occluder_x >= 0 else -1.0
    # The fingertips' place on the face; the hand comes from below on one side.
    tip_x, tip_y = 0.04 * side + 0.20 * s.occluder_x, 0.16 + 0.20 * s.occluder_y
    angle = math.radians(28.0 * side + 0.6 * s.occluder_angle)
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = surface.x - tip_x - 0.10 * g.sin_yaw, surface.y - tip_y
    # Hand frame: p across the fingers, q from the tips to the wrist
    p, q = cosine * x + sine * y, cosine * y - sine * x
    best = np.full_like(p, 9.0)
    across = np.zeros_like(p)
    radius_of = np.full_like(p, 0.07)
    for place, tip, radius in (
        (-0.198, 0.09, 0.060),
        (-0.066, 0.0, 0.067),
        (0.068, 0.012, 0.066),
        (0.195, 0.12, 0.056),
    ):
        offset = p - place * (1 - 0.12 * clamp(q, 0, 1))
        beyond = np.minimum(q - tip - radius, 0)
        distance = np.sqrt(offset * offset + beyond * beyond) - radius
        nearer = distance < best
        np.copyto(best, distance, where=nearer)
        np.copyto(across, offset, where=nearer)
        np.copyto(radius_of, np.float32(radius), where=nearer)
    finger_end = 0.40
    palm = np.maximum(np.abs(p) - 0.262 + 0.02 * clamp(q - 0.5, 0, 1), finger_end - q)
    np.maximum(best, q - finger_end - 0.05, out=best)
    thumb_p, thumb_q = p + 0.27 * side, q - 0.56
    along = clamp((thumb_p * -side * 0.75 - thumb_q * 0.66) / 0.30, 0, 1)
    tx, ty = thumb_p + side * 0.225 * along, thumb_q + 0.20 * along
    thumb = np.sqrt(tx * tx + ty * ty) - 0.068
    whole = np.minimum(np.minimum(best, palm), thumb)
    alpha = canvas.coverage(whole, g.scale)
    finger = clamp(best * -30 + 0.5, 0, 1) * clamp((finger_end - q) * 8 + 1, 0, 1)
    nx = clamp(across / radius_of, -1, 1) * 0.85 * finger
    gaps = clamp((0.85 - np.abs(across) / radius_of) * 4, 0, 1)
    occlusion = 1 - 0.45 * finger * (1 - gaps)
    occlusion *= 0.80 + 0.20 * clamp(-whole * 25, 0, 1)
    # Knuckle creases
    crease = np.minimum(np.abs(q - 0.17), np.abs(q - 0.30))
    occlusion *= 1 - 0.16 * clamp(1 - crease * 45, 0, 1) * finger
    nz = np.sqrt(np.maximum(1 - nx * nx, 0.05))
    colour = skin_colour(s.occluder_tone)
    # Shadow on the face beside the hand
    canvas.paint(0.35 * clamp(1 - whole * 14, 0, 1), (0.02, 0.01, 0.008))
    normal_x, normal_y = cosine * nx, sine * nx - 0.1
    canvas.paint(
        alpha,
        colour,
        light=light.irradiance(light.lambert(normal_x, normal_y, nz), normal_y, occlusion),
        label="occluder",
    )
    # Nails
    for place, tip in ((-0.198, 0.09), (-0.066, 0.0), (0.068, 0.012), (0.195, 0.12)):
        dp, dq = (p - place) * (1 / 0.036), (q - tip - 0.055) * (1 / 0.046)
        nail = clamp((1 - dp * dp - dq * dq) * 1.5, 0, 1)
        canvas.paint(0.45 * nail, (colour[0] * 1.1 + 0.05, colour[1] + 0.03, colour[2] + 0.04))
    canvas.occluder |= alpha > 0.5


def paint_occluder(canvas: Canvas, surface: Surface, light: Light, s: FaceSpecification) -> None:
    """Whatever ``s.occluder`` names, with its mask in ``canvas.occluder``."""
    if s.occluder == "sunglasses":
        _sunglasses(canvas, surface, light, s)
    elif s.occluder == "medical_mask":
        _medical_mask(canvas, surface, light, s)
    elif s.occluder == "hand":
        _hand(canvas, surface, light, s)
