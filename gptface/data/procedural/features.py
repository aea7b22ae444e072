"""Eyes, brows, nostrils, mouth and facial hair, painted on the shaded skin."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, clamp
from .geometry import BROW_HALF, brow_centre
from .skin import Skin, noise_at
from .specification import Colour, FaceSpecification
from .surface import Surface

__all__ = ["brow_colour", "paint_brows", "paint_eyes", "paint_facial_hair", "paint_mouth", "paint_nostrils"]


def paint_eyes(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification) -> None:
    """Sclera, iris, pupil, a highlight towards the light, lids and lashes; both eyes at once, mirrored at u = 0."""
    g = surface.geometry
    window = surface.band(g.eye_v, g.eye_u + g.eye_half * 1.3, 0.15)
    u, v = surface.local(window)
    side = np.sign(u)
    light = skin.lit(window)
    du = np.abs(u) - g.eye_u  # outwards
    dv = v - g.eye_v - g.eye_tilt * du
    along = du * (1 / g.eye_half)
    lens = 1 - along * along
    # The upper lid is highest a little towards the nose, the lower lowest a little away from it.
    upper = g.eye_upper * lens * (1 - 0.22 * along)
    lower = g.eye_lower * lens * (1 + 0.18 * along)
    above = dv + upper  # below the upper lid's edge where positive
    inside = canvas.coverage(np.maximum(-above, dv - lower), g.scale)
    inside *= lens > -0.1
    # Crease of the lid
    crease = clamp(1 - np.abs(above + 0.030) * 50, 0, 1) * clamp(lens * 3 + 0.6, 0, 1)
    canvas.paint(0.34 * crease, skin_shadow(skin.albedo, 0.35), window, light)
    # The eyeball, in the shade of the lid at its top, with its iris
    shade = 0.80 - 0.16 * clamp(1.1 - above * 25, 0, 1)
    iris = 0.064 + 0.002 * s.eye_size
    ix = du - side * (0.030 * s.gaze + 0.03 * g.sin_yaw)
    iy = dv + (0.006 + 0.03 * g.sin_pitch)
    radius = np.sqrt(ix * ix + iy * iy)
    rim = canvas.coverage(radius - iris, g.scale)
    inner = canvas.coverage(radius - iris * 0.74, g.scale)
    pupil = canvas.coverage(radius - iris * 0.42, g.scale)
    tint = rim * (0.55 + 0.70 * inner)
    white = (1 - rim) * shade
    hx, hy = ix - side * (0.022 * (0.4 + skin.key_light.x)), iy + 0.022
    spark = 0.8 * clamp(1.25 - np.sqrt(hx * hx + hy * hy) * (1 / 0.024), 0, 1)
    colour = np.empty((3, *u.shape), dtype=np.float32)
    for channel, sclera in enumerate((0.80, 0.77, 0.74)):
        plane = (white * sclera + tint * s.iris_colour[channel]) * light[channel]
        plane *= 1 - pupil
        plane += pupil * 0.006
        plane += spark * (1 - plane)
        colour[channel] = plane
    canvas.paint(inside, colour, window, None, "eyes")
    # Lashes: a dark line along the upper lid, heavier outwards; a faint one below
    heavy = 0.013 if s.male else 0.021
    lash = np.abs(above - 0.002) - heavy * (1 + 0.35 * along)
    ends = clamp((lens + 0.12) * 6, 0, 1)
    lash = canvas.coverage(lash, g.scale) * ends * (0.78 if s.male else 0.95)
    canvas.paint(lash, (0.018, 0.011, 0.009), window, light, "eyes")
    line = canvas.coverage(np.abs(dv - lower) - 0.007, g.scale) * ends * 0.38
    canvas.paint(line, skin_shadow(skin.albedo, 0.3), window, light)


def skin_shadow(albedo: Colour, share: float) -> Colour:
    """A deeper, redder tone of the same skin."""
    return albedo[0] * share * 1.1, albedo[1] * share * 0.85, albedo[2] * share * 0.85


def paint_brows(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification, colour: Colour) -> None:
    """Two tapering bows of short hairs, mirrored at u = 0."""
    g = surface.geometry
    window = surface.band(g.brow_v, g.eye_u + 0.19, 0.15)
    u, v = surface.local(window)
    side = np.sign(u)
    along = (np.abs(u) - (g.eye_u + 0.01)) * (1 / BROW_HALF)
    _, line = brow_centre(g, along)
    line += 0.006 * s.asymmetry * side
    thickness = g.brow_thickness * (1.12 - 0.42 * clamp(along, -1, 1) - 0.10 * along * along)
    hairs = noise_at(
        "hair", (v * side - 0.6 * u + 3) * 150, (u + v * side + 3) * 500 + (s.texture_seed >> 4 & 255), (16, 8)
    )
    distance = np.abs(v - line) - thickness * (1 + 0.16 * hairs)
    np.maximum(distance, (np.abs(along) - 1) * BROW_HALF, out=distance)
    alpha = canvas.coverage(distance, g.scale)
    alpha *= 0.94 if s.bushy_eyebrows else 0.84
    canvas.paint(alpha, colour, window, skin.lit(window) * (1 + 0.22 * hairs), "brows")


def paint_nostrils(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification) -> None:
    """Two dark openings that follow the tip of the nose as the head turns."""
    g = surface.geometry
    height = g.nose_v + 0.002 - 0.06 * g.sin_pitch
    window = surface.band(height, g.nose_half + 0.03, 0.06, lift=0.06)
    u, v = surface.local(window)
    du = np.abs(u - 0.06 * g.sin_yaw) - g.nose_half * 0.50
    dv = v - height - 0.12 * du
    du *= 1 / (0.36 * g.nose_half)
    dv *= 1 / 0.020
    alpha = clamp(1.5 - np.sqrt(du * du + dv * dv), 0, 1)
    canvas.paint(0.72 * alpha, skin_shadow(skin.albedo, 0.16), window, skin.lit(window))


def _lip_colours(skin: Skin, s: FaceSpecification) -> tuple[Colour, Colour]:
    if s.lipstick:
        red, green, blue = s.lipstick_colour
        return (red * 0.8, green * 0.8, blue * 0.8), (red, green, blue)
    # The skin's own colour with more blood, less visible the darker the skin
    red, green, blue = skin.albedo
    upper = (red * 0.82 + 0.02, green * 0.50, blue * 0.56) if s.male else (red * 0.86 + 0.03, green * 0.42, blue * 0.52)
    return upper, (upper[0] * 1.12, upper[1] * 1.10, upper[2] * 1.10)


def paint_mouth(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification) -> None:
    """Lips, and between them teeth, tongue and darkness."""
    g = surface.geometry
    lift = 0.03
    window = surface.window(0.0, g.mouth_v + 0.02, g.mouth_half * 1.2, 0.24, lift=lift)
    u, v = surface.local(window)
    u = u - lift * g.sin_yaw
    along = u * (1 / g.mouth_half)
    bounded = clamp(along, -1, 1)
    top, inner_top, inner_bottom, bottom = g.mouth_curves(bounded)
    ends = (np.abs(along) - 1) * g.mouth_half
    light = skin.lit(window)
    upper_colour, lower_colour = _lip_colours(skin, s)
    distance = np.maximum(np.maximum(top - v, v - bottom), ends)
    alpha = canvas.coverage(distance, g.scale)
    upper = canvas.coverage(v - 0.5 * (inner_top + inner_bottom), g.scale)
    colour = np.empty((3, *u.shape), dtype=np.float32)
    # The upper lip faces down and lies in shade, the lower one catches the light.
    fall = clamp((v - inner_bottom) * (1 / max(g.lower_lip, 0.01)), 0, 1)
    gloss = 1.06 + (0.22 if s.lipstick else 0.12) * fall * (1 - fall) * 4
    for channel in range(3):
        colour[channel] = upper * (0.88 * upper_colour[channel]) + (1 - upper) * gloss * lower_colour[channel]
    # Lips of unpainted colour have soft borders.
    canvas.paint(alpha * (0.96 if s.lipstick else 0.86), colour, window, light, "mouth")
    if s.lipstick:
        shine_u, shine_v = (along - 0.3 * skin.key_light.x) * (1 / 0.35), (fall - 0.45) * (1 / 0.3)
        shine = clamp(1 - shine_u * shine_u - shine_v * shine_v, 0, 1) * (v > inner_bottom)
        canvas.paint(0.22 * shine * alpha, (1.0, 0.9, 0.9), window, light)
    if g.opening + g.upper_raise > 0.02:
        hole = canvas.coverage(np.maximum(np.maximum(inner_top - v, v - inner_bottom), ends + 0.01), g.scale)
        depth = clamp((v - inner_top) * (1 / 0.06), 0, 1)
        canvas.paint(hole, (0.055, 0.010, 0.010), window, light, "mouth")
        if g.opening > 0.1:
            tongue = clamp((v - (g.mouth_v + 0.36 * g.opening)) * 25, 0, 1) * clamp(1.1 - along * along * 2.2, 0, 1)
            canvas.paint(hole * tongue * 0.7, (0.30, 0.075, 0.075), window, light)
        teeth_height = min(0.055, (0.36 + 0.3 * g.squareness) * (g.opening + g.upper_raise * 0.6))
        teeth = canvas.coverage(v - inner_top - teeth_height, g.scale) * hole * clamp((0.93 - np.abs(along)) * 8, 0, 1)
        canvas.paint(teeth, (0.82, 0.76, 0.67), window, light * (0.72 + 0.25 * depth))
        if g.squareness > 0.6:  # bared lower teeth
            low = (
                canvas.coverage(inner_bottom - 0.4 * teeth_height - v, g.scale)
                * hole
                * clamp((0.85 - np.abs(along)) * 8, 0, 1)
            )
            canvas.paint(low, (0.70, 0.66, 0.60), window, light * 0.8)
    else:
        seam = np.abs(v - inner_top) - 0.009
        np.maximum(seam, ends - 0.012, out=seam)
        canvas.paint(0.78 * canvas.coverage(seam, g.scale), skin_shadow(upper_colour, 0.28), window, light)
    # Corners of the mouth
    du, dv = np.abs(along) - 1, (v - (g.mouth_v - 0.55 * g.corner)) * (1 / g.mouth_half)
    corners = clamp(1 - (du * du + dv * dv) * (1 / 0.03), 0, 1)
    canvas.paint(0.35 * corners, skin_shadow(skin.albedo, 0.3), window, light)


def paint_facial_hair(canvas: Canvas, surface: Surface, skin: Skin, s: FaceSpecification, colour: Colour) -> None:
    """The shade of a man's stubble, mustache, goatee, full beard; part of the skin's region, as in CelebAMask-HQ."""
    g = surface.geometry
    if not (s.male or s.mustache or s.goatee or s.beard):
        return
    window = surface.window(0.0, 0.42, 0.62, 0.42)
    u, v = surface.local(window)
    light = skin.lit(window)
    lifted = u - 0.03 * g.sin_yaw
    size = abs(lifted)
    along = clamp(lifted * (1 / g.mouth_half), -1, 1)
    top, _, _, bottom = g.mouth_curves(along)
    strands = noise_at("hair", v * 60 + 64, u * 420 + 40 * v * np.sign(u) + (s.texture_seed & 255), (16, 4))
    lips = canvas.coverage(
        np.maximum(np.maximum(top - v, v - bottom), (np.abs(lifted) - g.mouth_half)) - 0.008, g.scale
    )
    jaw = clamp((v - 0.26 + 0.9 * np.maximum(size - 0.30, 0) * -1) * 9, 0, 1) * surface.coverage[window]
    if s.male:
        canvas.paint(0.10 * jaw * (1 - lips), skin_shadow(colour, 0.7), window, light)
    if not (s.beard or s.goatee or s.mustache):
        return
    alpha = np.zeros_like(u)
    if s.beard:
        # From the sideburns along the cheek, under the nose, down over the chin's edge
        cheek_line = g.nose_v + 0.105 - 0.62 * np.maximum(size - 0.20, 0) - 0.03 * strands
        beard = canvas.coverage(np.maximum(cheek_line - v, surface.distance[window] - 0.03), g.scale)
        du = size * (1 / (g.mouth_half + 0.03))
        dv = (v - 0.5 * (top + bottom)) / (0.5 * (bottom - top) + 0.030)
        bare = clamp(2.2 - 2 * np.sqrt(du * du + dv * dv), 0, 1)
        alpha = beard * (1 - bare)
    if s.mustache:
        mustache_half = g.mouth_half * 0.5 + 0.10
        reach = size * (1 / mustache_half)
        upper_edge = np.minimum(g.nose_v + 0.050, top - 0.045) + 0.06 * reach * reach
        lower_edge = np.minimum(top + 0.016, g.nose_v + 0.145 - 0.02 * reach) + 0.05 * reach * reach
        distance = np.maximum(np.maximum(upper_edge - v, v - lower_edge), size - mustache_half) + 0.008 * strands
        alpha = np.maximum(alpha, canvas.coverage(distance, g.scale))
    if s.goatee:
        low = g.mouth_v + g.lower_lip + 0.64 * g.opening
        du = lifted * (1 / 0.155)
        dv = (v - (low + g.chin + 0.035) * 0.5) * (1 / max((g.chin + 0.045 - low) * 0.5, 0.05))
        chin = (np.sqrt(du * du + dv * dv * dv * dv) - 1) * 0.11 + 0.008 * strands
        if s.mustache:  # a circle around the mouth
            fall = clamp((v - g.mouth_v) * (1 / max(low - g.mouth_v + 0.09, 0.05)), 0, 1)
            sides = np.abs(size - g.mouth_half - 0.045 + 0.10 * fall * fall) - 0.030
            np.maximum(sides, np.maximum(g.mouth_v - 0.06 - v, v - low - 0.11), out=sides)
            chin = np.minimum(chin, sides)
        chin += 0.006 * strands
        alpha = np.maximum(alpha, canvas.coverage(chin, g.scale))
    alpha *= 1 - lips
    alpha *= canvas.coverage(surface.distance[window] - 0.03, g.scale)
    canvas.paint(0.93 * alpha, colour, window, light * (1.0 + 0.32 * strands), "skin")


def brow_colour(hair: Colour) -> Colour:
    """Brows are darker than the hair."""
    return 0.45 * hair[0] + 0.004, 0.42 * hair[1] + 0.003, 0.40 * hair[2] + 0.003
