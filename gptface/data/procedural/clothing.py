"""Neck, clothes, ears and what is worn on them, hats."""

from __future__ import annotations

import numpy as np

from .canvas import FULL, Canvas, clamp
from .geometry import BASE_SCALE, BASE_Y, FaceGeometry
from .skin import noise_at, skin_colour
from .specification import Colour, FaceSpecification
from .surface import Light, Surface

__all__ = ["paint_body", "paint_earrings", "paint_ears", "paint_hat"]


def paint_body(canvas: Canvas, g: FaceGeometry, light: Light, s: FaceSpecification) -> None:
    """The neck, shaded by the jaw, and shoulders in clothes."""
    scale = BASE_SCALE * s.scale
    x = (canvas.x - g.shift_x * 0.8) / scale
    y = (canvas.y - BASE_Y - s.centre_y) / scale
    window: tuple[slice, slice] = (slice(int(canvas.size * 0.55), canvas.size), slice(None))
    x, y = x[window], y[window] + 0.17
    size = np.abs(x)
    # Neck: a column that leans to the head and flares into the shoulders
    lean = x - (0.10 * g.sin_yaw) * clamp((1.0 - y) * 2, 0, 1)
    flare = np.maximum(y - 0.72, 0)
    half = g.neck_half + 1.1 * flare * flare * 3
    t = clamp(lean / half, -1, 1)
    neck = canvas.coverage((np.abs(lean) - half) * 0.85, scale)
    nz = np.sqrt(1 - t * t)
    skin = skin_colour(s.skin_tone, s.skin_warmth, s.pale_skin)
    under_jaw = clamp((y - g.chin - 0.07 - 0.55 * lean * lean) * (1 / 0.30), 0, 1)
    occlusion = (0.40 + 0.60 * under_jaw) * (0.7 + 0.3 * nz)
    shade = light.lambert(t, 0.15, nz) * (0.45 + 0.55 * under_jaw)
    canvas.paint(neck, skin, window, light.irradiance(shade, np.full_like(t, 0.2), occlusion), "neck")
    if s.double_chin:
        _paint_double_chin(canvas, g, light, skin, x, y, scale, window)
    # Clothes
    slope = 0.055 if s.male else 0.075
    reach = 1.12 if s.male else 0.98
    top = 0.79 + slope * size + 0.35 * np.maximum(size - reach + 0.35, 0) ** 2 * 3
    clothes = "shirt" if s.necktie and s.clothes in ("crew", "v_neck") else s.clothes
    if clothes == "crew":
        neckline = 0.945 - 1.0 * x * x
    elif clothes == "v_neck":
        neckline = 1.16 - 1.15 * size
    else:
        neckline = 1.02 - 0.75 * size
    body = canvas.coverage(np.maximum(top - y, neckline - y) * 0.9, scale)
    folds = noise_at("cloth", (y + 2) * 60 + (s.texture_seed >> 3 & 255), (x + 0.4 * y + 3) * 60, (16, 16))
    ny = clamp(-0.55 + 1.4 * (y - top), -0.6, 0.1) + 0.12 * folds
    nx = clamp(x * 0.75, -0.85, 0.85) + 0.15 * folds
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.05))
    cosine = light.lambert(nx, ny, nz)
    irradiance = light.irradiance(cosine, ny, 0.88 + 0.12 * folds)
    canvas.paint(body, s.clothes_colour, window, irradiance, "clothes")
    cloth = s.clothes_colour
    if clothes in ("crew", "v_neck"):
        hem = canvas.coverage(np.abs(y - neckline - 0.022) - 0.022, scale) * body
        canvas.paint(0.5 * hem, _scaled(cloth, 0.45), window, irradiance)
    else:
        white = (0.78, 0.78, 0.80) if clothes == "jacket" else _scaled(cloth, 1.15, 0.04)
        # Collar: two flaps from the side of the neck to the throat
        flap = np.maximum(np.abs(y - (1.00 - 0.62 * size)) - 0.062, size - 0.36)
        if clothes == "jacket":
            shirt = canvas.coverage(np.maximum(size - 0.30 + 0.55 * (y - 0.85), neckline - y), scale)
            canvas.paint(shirt, white, window, irradiance, "clothes")
            lapel = np.abs(size - 0.335 + 0.55 * (y - 0.85)) - 0.016
            canvas.paint(0.6 * canvas.coverage(lapel, scale) * body, _scaled(cloth, 0.35), window, irradiance)
        canvas.paint(canvas.coverage(flap, scale) * (y > 0.70), _scaled(white, 1.08), window, irradiance, "clothes")
        edge = np.abs(y - (1.062 - 0.62 * size)) - 0.012
        canvas.paint(
            0.45 * canvas.coverage(np.maximum(edge, size - 0.36), scale), _scaled(white, 0.3), window, irradiance
        )
    if s.necktie:
        knot = np.maximum(size - 0.095 + 0.25 * (y - 0.93), np.abs(y - 0.965) - 0.06)
        blade = np.maximum(size - 0.07 - 0.30 * (y - 1.02), 1.02 - y)
        tie = canvas.coverage(np.minimum(knot, blade), scale)
        stripes = 0.85 + 0.30 * np.sign(np.sin((x + y) * 42))
        gap = 1 - 0.35 * clamp(1 - np.abs(y - 1.024) * 40, 0, 1)
        canvas.paint(tie, s.necktie_colour, window, irradiance * (stripes * gap * (1.15 - 1.5 * size)), "clothes")


def _scaled(colour: Colour, factor: float, offset: float = 0.0) -> Colour:
    return colour[0] * factor + offset, colour[1] * factor + offset, colour[2] * factor + offset


def _paint_double_chin(
    canvas: Canvas,
    g: FaceGeometry,
    light: Light,
    skin: Colour,
    x: np.ndarray,
    y: np.ndarray,
    scale: float,
    window: tuple[slice, slice],
) -> None:
    """A full fold below the chin, its lower border in shade."""
    du = (x - 0.16 * g.sin_yaw) * (1 / 0.41)
    dv = (y - g.chin - 0.045) * (1 / 0.27)
    squared = du * du + dv * dv
    distance = (np.sqrt(squared) - 1) * 0.27
    nz = np.sqrt(np.maximum(1 - 0.85 * np.minimum(squared, 1), 0))
    crease = clamp(1.3 - squared, 0.2, 1) * clamp((squared - 0.28) * 4, 0.2, 1)
    cosine = light.lambert(0.8 * du, 0.75 * dv, nz)
    canvas.paint(canvas.coverage(distance, scale), skin, window, light.irradiance(cosine, 0.6 * dv, crease), "skin")


def paint_ears(canvas: Canvas, surface: Surface, light: Light, s: FaceSpecification) -> None:
    """Two shells, of which the turning head shows one more."""
    g = surface.geometry
    skin = skin_colour(s.skin_tone, s.skin_warmth, s.pale_skin)
    for sign in (-1.0, 1.0):
        x0, half = ear_place(g, s, sign)
        window = surface.head_window(x0, g.ear_v, half * 1.4, 0.2)
        x, y = surface.x[window] - x0, surface.y[window] - g.ear_v
        height = 0.135 * (1 + 0.08 * s.ear_size)
        dx, dy = x * (1 / half), y * (1 / height)
        dx = dx * (1 + 0.25 * dy)  # narrower at the lobe
        squared = dx * dx + dy * dy
        distance = (np.sqrt(squared) - 1) * min(half, height)
        hollow = clamp(1 - ((dx + 0.15 * sign) ** 2 * 2.2 + dy * dy * 2.2), 0, 1)
        nx = sign * (0.45 + 0.3 * dx * sign)
        cosine = light.lambert(nx, 0.3 * dy, 0.75)
        red = (skin[0] * 1.04, skin[1] * 0.90, skin[2] * 0.88)
        canvas.paint(
            canvas.coverage(distance, g.scale),
            red,
            window,
            light.irradiance(cosine, 0.2 * dy, 0.92 - 0.45 * hollow),
            "ears",
        )


def ear_place(g: FaceGeometry, s: FaceSpecification, sign: float) -> tuple[float, float]:
    """(centre x in the head frame, apparent half-width) of an ear."""
    half = (0.072 + 0.006 * s.ear_size) * max(0.55, 1 - 1.1 * sign * g.sin_yaw)
    return sign * (g.width * 0.985 + 0.022) * g.cos_yaw - 0.02 * g.sin_yaw, half


def paint_earrings(canvas: Canvas, surface: Surface, light: Light, s: FaceSpecification) -> None:
    """Pendants below the lobes, in front of any hair."""
    g = surface.geometry
    for sign in (-1.0, 1.0):
        x0, _ = ear_place(g, s, sign)
        x0, y0 = x0 + sign * 0.012, g.ear_v + 0.135
        window = surface.head_window(x0, y0 + 0.10, 0.09, 0.16)
        x, y = surface.x[window] - x0, surface.y[window] - y0
        drop = np.sqrt(x * x + (y - 0.105) ** 2 * 0.7) - 0.046
        stud = np.sqrt(x * x + y * y) - 0.024
        link = np.maximum(np.abs(x) - 0.012, np.abs(y - 0.04) - 0.04)
        shape = np.minimum(np.minimum(drop, stud), link)
        shine = clamp(1 - ((x - 0.012 * np.sign(light.x)) ** 2 + (y - 0.09) ** 2) * (1 / 0.0011), 0, 1)
        canvas.paint(canvas.coverage(shape - 0.014, g.scale) * 0.45, (0.02, 0.015, 0.012), window)
        colour = s.earring_colour
        canvas.paint(canvas.coverage(shape, g.scale), _scaled(colour, 0.95), window)
        canvas.paint(0.9 * shine * canvas.coverage(shape, g.scale), (1.2, 1.2, 1.15), window)


def hat_shadow(surface: Surface, s: FaceSpecification) -> np.ndarray:
    """Share of light that the hat keeps from the face."""
    edge = hat_edge(surface, s)
    reach = 0.10 if s.hat_style == "beanie" else 0.20
    return 0.5 * clamp(1 - (surface.v - edge) * (1 / reach), 0, 1) * (surface.v > edge - 0.05)


def hat_edge(surface: Surface, s: FaceSpecification) -> np.ndarray:
    """Height v of the hat's lower border on the forehead."""
    base = {"beanie": -0.335, "cap": -0.315, "brimmed": -0.325}[s.hat_style]
    return base + 0.16 * surface.u * surface.u


def paint_hat(canvas: Canvas, surface: Surface, light: Light, s: FaceSpecification) -> None:
    """A knitted beanie, a cap with a visor, or a hat with a brim all round."""
    g = surface.geometry
    x = surface.x - (0.02 + 0.06 * np.minimum(surface.v, 0)) * g.sin_yaw
    v = surface.v
    edge = hat_edge(surface, s)
    crown_half, crown_top = (g.width + 0.07, g.top - 0.115)
    power = 2.4 if s.hat_style == "beanie" else 2.9 if s.hat_style == "cap" else 3.6
    if s.hat_style == "brimmed":
        crown_half, crown_top = g.width + 0.03, g.top - 0.13
    middle = -0.20
    t = clamp((middle - v) / (middle - crown_top), 0, 1)
    outline = crown_half * np.maximum(1 - t**power, 0) ** (1 / power)
    size = np.abs(x)
    distance = np.maximum(np.maximum((size - outline) * 0.8, crown_top - v), v - edge)
    across = clamp(x / np.maximum(outline, 0.05), -1, 1)
    ny = clamp((v - middle) * (1 / (middle - crown_top)), -0.97, 0) * 0.9
    nx = across * np.sqrt(np.maximum(1 - ny * ny, 0))
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.02))
    if s.hat_style == "beanie":
        texture = 0.86 + 0.16 * np.sin(across * 34) * clamp(outline * 4 - 0.4, 0, 1)
        band = clamp((v - edge + 0.135) * 30, 0, 1)
        texture = texture * (1 - 0.30 * clamp(1 - np.abs(v - edge + 0.135) * 22, 0, 1)) + 0.10 * band
    elif s.hat_style == "cap":
        seams = np.minimum(np.abs(across), np.abs(np.abs(across) - 0.6))
        texture = 1 - 0.30 * clamp(1 - seams * 18, 0, 1)
    else:
        texture = 1 - 0.72 * clamp((v - edge + 0.13) * 40, 0, 1)
    canvas.paint(
        canvas.coverage(distance, g.scale),
        s.hat_colour,
        FULL,
        light.irradiance(light.lambert(nx, ny, nz), ny, texture),
        "hat",
    )
    if s.hat_style == "beanie":
        return
    if s.hat_style == "cap":
        bx, by = x - 0.20 * g.sin_yaw, v - (-0.315) - 0.10 * g.sin_pitch
        half = g.width * 0.98
        arc = by - 0.05 + 0.30 * bx * bx
        thick = 0.072 * np.sqrt(np.maximum(1 - (bx * (1 / half)) ** 2, 0))
        brim = np.maximum(np.abs(arc + 0.03) - thick, np.abs(bx) - half)
        shade = clamp(0.55 - arc * 4, 0.3, 1.0)
    else:
        half = g.width + 0.23
        bx, by = x, v + 0.315 + 0.08 * x * x
        ring = (bx * (1 / half)) ** 2 + (by * (1 / 0.075)) ** 2
        brim = (np.sqrt(ring) - 1) * 0.075
        shade = clamp(0.62 - by * 4, 0.35, 1.0)
    lit = light.irradiance(np.full_like(x, max(-light.y, 0.2)), np.full_like(x, -0.5), shade)
    canvas.paint(canvas.coverage(brim, g.scale), s.hat_colour, FULL, lit, "hat")
