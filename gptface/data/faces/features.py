"""Eyes, brows, nostrils, mouth and facial hair, painted on the shaded skin."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas
from .skin import Skin, noise_at
from .specification import Colour, FaceSpecification
from .surface import Surface

__all__ = ["brow_colour", "paint_brows", "paint_eyes", "paint_facial_hair", "paint_mouth", "paint_nostrils"]


def paint_eyes(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification) -> None:
    """Sclera, iris, pupil, a highlight towards the light, lids and lashes."""
    g = surface.geometry
    for sign in (-1.0, 1.0):
        centre = sign * g.eye_u
        window = surface.window(centre, g.eye_v, g.eye_half * 1.5, 0.17)
        u, v = surface.local(window)
        light = skin.lit(window)
        du = u - centre
        dv = v - g.eye_v - (g.eye_tilt * sign) * du
        along = du * (1 / g.eye_half)
        along2 = along * along
        lens = 1 - along2
        # The upper lid is highest a little towards the nose, the lower lowest a little away from it.
        upper = g.eye_upper * lens * (1 - 0.22 * sign * along)
        lower = g.eye_lower * lens * (1 + 0.18 * sign * along)
        distance = np.maximum(-dv - upper, dv - lower)
        inside = canvas.coverage(distance, g.scale)
        inside *= lens > -0.1
        # Crease of the lid and the soft shade around, before the eye itself
        crease = np.abs(dv + upper + 0.030) * (1 / 0.020)
        canvas.paint(
            0.34 * np.clip(1 - crease, 0, 1) * np.clip(lens * 3 + 0.6, 0, 1),
            skin_shadow(skin.albedo, 0.35),
            window,
            light,
        )
        canvas.paint(
            inside,
            (0.80, 0.77, 0.74),
            window,
            light * (0.80 - 0.16 * np.clip((-dv - upper + 0.045) * 25, 0, 1)),
            "eyes",
        )
        # Iris
        iris = 0.062 + 0.002 * s.eye_size
        ix = du - 0.030 * s.gaze - 0.03 * g.sin_yaw
        iy = dv + 0.006 + 0.03 * g.sin_pitch
        radius = np.sqrt(ix * ix + iy * iy)
        colour = s.iris_colour
        ring = canvas.coverage(radius - iris, g.scale)
        canvas.paint(ring * inside, (colour[0] * 0.55, colour[1] * 0.55, colour[2] * 0.55), window, light)
        inner = canvas.coverage(radius - iris * 0.74, g.scale)
        canvas.paint(inner * inside, (colour[0] * 1.25, colour[1] * 1.25, colour[2] * 1.25), window, light)
        pupil = canvas.coverage(radius - iris * 0.42, g.scale)
        canvas.paint(pupil * inside, (0.006, 0.005, 0.005), window)
        # Highlight of the key light on the cornea
        hx, hy = ix - 0.022 * (0.4 + skin.key_light.x), iy + 0.022
        spark = np.clip(1.25 - np.sqrt(hx * hx + hy * hy) * (1 / 0.024), 0, 1)
        canvas.paint(0.8 * spark * inside, (1.0, 1.0, 1.0), window)
        # Lashes: a dark line along the upper lid, heavier outwards; a faint one below
        heavy = 0.013 if s.male else 0.021
        lash = np.abs(dv + upper - 0.002) - heavy * (1 + 0.35 * sign * along)
        ends = np.clip((lens + 0.12) * 6, 0, 1)
        canvas.paint(
            canvas.coverage(lash, g.scale) * ends * (0.78 if s.male else 0.95),
            (0.018, 0.011, 0.009),
            window,
            light,
            "eyes",
        )
        rim = np.abs(dv - lower) - 0.007
        canvas.paint(canvas.coverage(rim, g.scale) * ends * 0.38, skin_shadow(skin.albedo, 0.3), window, light)


def skin_shadow(albedo: Colour, share: float) -> Colour:
    """A deeper, redder tone of the same skin."""
    return albedo[0] * share * 1.1, albedo[1] * share * 0.85, albedo[2] * share * 0.85


def paint_brows(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification, colour: Colour) -> None:
    """Two tapering bows of short hairs."""
    g = surface.geometry
    half = 0.145
    for sign in (-1.0, 1.0):
        centre_u = sign * (g.eye_u + 0.01)
        window = surface.window(centre_u, g.brow_v + 0.0, half * 1.2, 0.16)
        u, v = surface.local(window)
        along = (u - centre_u) * (sign / half)
        inner, outer = 1 - along, 1 + along
        shift = along - 0.25
        line = g.brow_v + 0.02 - g.brow_arch * (1 - shift * shift)
        line += (g.brow_inner * 0.25) * inner * inner
        line += (g.brow_outer * 0.25) * outer * outer
        line += 0.004 * s.asymmetry * sign
        thickness = g.brow_thickness * (1.12 - 0.42 * np.clip(along, -1, 1) - 0.10 * along * along)
        hairs = noise_at(
            "hair", (v * sign - 0.6 * u + 3) * 150, (u + v * sign + 3) * 500 + (s.texture_seed >> 4 & 255), (16, 8)
        )
        distance = np.abs(v - line) - thickness * (1 + 0.22 * hairs)
        np.maximum(distance, (np.abs(along) - 1) * half, out=distance)
        alpha = canvas.coverage(distance, g.scale)
        alpha *= 0.94 if s.bushy_eyebrows else 0.84
        canvas.paint(alpha, colour, window, skin.lit(window) * (1 + 0.22 * hairs), "brows")


def paint_nostrils(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification) -> None:
    """Two dark openings that follow the tip of the nose as the head turns."""
    g = surface.geometry
    for sign in (-1.0, 1.0):
        centre = sign * g.nose_half * 0.50 + 0.06 * g.sin_yaw
        height = g.nose_v + 0.002 - 0.06 * g.sin_pitch
        window = surface.window(centre, height, 0.09, 0.06)
        u, v = surface.local(window)
        du, dv = (u - centre) * (1 / (0.36 * g.nose_half)), (v - height - 0.12 * sign * (u - centre)) * (1 / 0.020)
        alpha = np.clip(1.5 - np.sqrt(du * du + dv * dv), 0, 1)
        canvas.paint(0.72 * alpha, skin_shadow(skin.albedo, 0.16), window, skin.lit(window))


def _lip_colours(skin: Skin, s: FaceSpecification) -> tuple[Colour, Colour]:
    if s.lipstick:
        red, green, blue = s.lipstick_colour
        return (red * 0.8, green * 0.8, blue * 0.8), (red, green, blue)
    red, green, blue = skin.albedo
    pale = 0.85 if s.male else 1.0
    upper = red * 0.70, green * 0.50 * (1.1 - 0.1 * pale), blue * 0.56
    return upper, (upper[0] * 1.16, upper[1] * 1.12, upper[2] * 1.12)


def paint_mouth(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification) -> None:
    """Lips, and between them teeth, tongue and darkness."""
    g = surface.geometry
    lift = 0.03
    window = surface.window(0.0, g.mouth_v + 0.02, g.mouth_half * 1.2, 0.24, lift=lift)
    u, v = surface.local(window)
    u = u - lift * g.sin_yaw
    along = u * (1 / g.mouth_half)
    bounded = np.clip(along, -1, 1)
    top, inner_top, inner_bottom, bottom = g.mouth_curves(bounded)
    ends = (np.abs(along) - 1) * g.mouth_half
    light = skin.lit(window)
    upper_colour, lower_colour = _lip_colours(skin, s)
    distance = np.maximum(np.maximum(top - v, v - bottom), ends)
    alpha = canvas.coverage(distance, g.scale)
    upper = canvas.coverage(v - 0.5 * (inner_top + inner_bottom), g.scale)
    colour = np.empty((3, *u.shape), dtype=np.float32)
    # The upper lip faces down and lies in shade, the lower one catches the light.
    fall = np.clip((v - inner_bottom) * (1 / max(g.lower_lip, 0.01)), 0, 1)
    gloss = 1.06 + (0.22 if s.lipstick else 0.12) * fall * (1 - fall) * 4
    for channel in range(3):
        colour[channel] = upper * (0.82 * upper_colour[channel]) + (1 - upper) * gloss * lower_colour[channel]
    # Lips of unpainted colour have soft borders.
    canvas.paint(alpha * (0.96 if s.lipstick else 0.86), colour, window, light, "mouth")
    if s.lipstick:
        shine_u, shine_v = (along - 0.3 * skin.key_light.x) * (1 / 0.35), (fall - 0.45) * (1 / 0.3)
        shine = np.clip(1 - shine_u * shine_u - shine_v * shine_v, 0, 1) * (v > inner_bottom)
        canvas.paint(0.22 * shine * alpha, (1.0, 0.9, 0.9), window, light)
    if g.opening + g.upper_raise > 0.02:
        hole = canvas.coverage(np.maximum(np.maximum(inner_top - v, v - inner_bottom), ends + 0.01), g.scale)
        depth = np.clip((v - inner_top) * (1 / 0.06), 0, 1)
        canvas.paint(hole, (0.055, 0.010, 0.010), window, light, "mouth")
        if g.opening > 0.1:
            tongue = np.clip((v - (g.mouth_v + 0.36 * g.opening)) * 25, 0, 1) * np.clip(1.1 - along * along * 2.2, 0, 1)
            canvas.paint(hole * tongue * 0.7, (0.30, 0.075, 0.075), window, light)
        teeth_height = min(0.055, 0.62 * (g.opening + g.upper_raise * 0.6))
        teeth = (
            canvas.coverage(v - inner_top - teeth_height, g.scale) * hole * np.clip((0.93 - np.abs(along)) * 8, 0, 1)
        )
        canvas.paint(teeth, (0.80, 0.77, 0.70), window, light * (0.72 + 0.25 * depth))
        if g.squareness > 0.6:  # bared lower teeth
            low = (
                canvas.coverage(inner_bottom - 0.4 * teeth_height - v, g.scale)
                * hole
                * np.clip((0.85 - np.abs(along)) * 8, 0, 1)
            )
            canvas.paint(low, (0.70, 0.66, 0.60), window, light * 0.8)
    else:
        seam = np.abs(v - inner_top) - 0.009
        np.maximum(seam, ends - 0.012, out=seam)
        canvas.paint(0.78 * canvas.coverage(seam, g.scale), skin_shadow(upper_colour, 0.28), window, light)
    # Corners of the mouth
    for sign in (-1.0, 1.0):
        du, dv = along - sign, (v - (g.mouth_v - 0.55 * g.corner)) * (1 / g.mouth_half)
        corner = np.clip(1 - (du * du + dv * dv) * (1 / 0.03), 0, 1)
        canvas.paint(0.35 * corner, skin_shadow(skin.albedo, 0.3), window, light)


def paint_facial_hair(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification, colour: Colour) -> None:
    """Stubble shade of a shaven man, mustache, goatee, full beard."""
    g = surface.geometry
    if not s.male:
        return
    window = surface.window(0.0, 0.42, 0.62, 0.42)
    u, v = surface.local(window)
    light = skin.lit(window)
    lifted = u - 0.03 * g.sin_yaw
    size = abs(lifted)
    along = np.clip(lifted * (1 / g.mouth_half), -1, 1)
    top, _, _, bottom = g.mouth_curves(along)
    strands = noise_at("hair", v * 60 + 64, u * 420 + 40 * v * np.sign(u) + (s.texture_seed & 255), (16, 4))
    lips = canvas.coverage(
        np.maximum(np.maximum(top - v, v - bottom), (np.abs(lifted) - g.mouth_half)) - 0.008, g.scale
    )
    jaw = np.clip((v - 0.26 + 0.9 * np.maximum(size - 0.30, 0) * -1) * 9, 0, 1) * surface.coverage[window]
    if not (s.beard or s.goatee or s.mustache):
        canvas.paint(0.10 * jaw * (1 - lips), skin_shadow(colour, 0.7), window, light)
        return
    alpha = np.zeros_like(u)
    if s.beard:
        # From the sideburns along the cheek, under the nose, down over the chin's edge
        cheek_line = g.nose_v + 0.105 - 0.62 * np.maximum(size - 0.20, 0) - 0.03 * strands
        beard = canvas.coverage(np.maximum(cheek_line - v, surface.distance[window] - 0.03), g.scale)
        gap = np.clip((v - g.mouth_v) * 14, 0, 1) + np.clip((size - g.mouth_half - 0.02) * 20, 0, 1)
        alpha = beard * np.clip(gap, 0, 1)
    if s.mustache:
        mustache_half = g.mouth_half * 0.5 + 0.10
        reach = size * (1 / mustache_half)
        upper_edge = g.nose_v + 0.050 + 0.06 * reach * reach
        lower_edge = np.minimum(top + 0.016, g.nose_v + 0.145 - 0.02 * reach) + 0.05 * reach * reach
        distance = np.maximum(np.maximum(upper_edge - v, v - lower_edge), size - mustache_half) + 0.008 * strands
        alpha = np.maximum(alpha, canvas.coverage(distance, g.scale))
    if s.goatee:
        low = g.mouth_v + g.lower_lip + 0.64 * g.opening
        du = lifted * (1 / 0.155)
        dv = (v - (low + g.chin + 0.035) * 0.5) * (1 / max((g.chin + 0.045 - low) * 0.5, 0.05))
        chin = (np.sqrt(du * du + dv * dv * dv * dv) - 1) * 0.11 + 0.008 * strands
        ring_u = np.abs(size - g.mouth_half - 0.045) - 0.030
        sides = np.maximum(np.maximum(ring_u, g.mouth_v - 0.02 - v), v - low - 0.1) if s.mustache else chin
        alpha = np.maximum(alpha, canvas.coverage(np.minimum(chin, sides), g.scale))
    alpha *= 1 - lips
    alpha *= np.minimum(1, surface.coverage[window] + 0.8)
    canvas.paint(0.93 * alpha, colour, window, light * (1.0 + 0.45 * strands), "hair")


def brow_colour(hair: Colour) -> Colour:
    """Brows are darker than the hair."""
    return 0.45 * hair[0] + 0.004, 0.42 * hair[1] + 0.003, 0.40 * hair[2] + 0.003
