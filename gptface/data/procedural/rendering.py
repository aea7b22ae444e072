"""From a specification to a picture with its region map, landmarks and occluder mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gptface.errors import InputError

from . import clothing, features, geometry, hair, occluders
from .canvas import Canvas
from .skin import Skin, noise_at
from .specification import FaceSpecification
from .surface import Light, Surface

__all__ = ["RenderedFace", "render_face"]

SMALLEST, LARGEST = 16, 1024


@dataclass(frozen=True)
class RenderedFace:
    """A picture and what is known of it.

    ``image`` uint8 (H, W, 3) RGB; ``region_map`` uint8 (H, W), indices into ``REGIONS``; ``landmarks`` float32 (68, 2),
    (x, y) in pixels in dlib's order, given where something covers them too; ``occluder_mask`` bool (H, W).
    """

    image: np.ndarray
    region_map: np.ndarray
    landmarks: np.ndarray
    occluder_mask: np.ndarray


def render_face(specification: FaceSpecification, size: int = 64) -> RenderedFace:
    """Draw a face ``size`` pixels square (16 to 1024); every size shows the same face.

    Raises:
        InputError: the size is out of range.
    """
    if not SMALLEST <= size <= LARGEST:
        raise InputError(f"size is {size}; it must lie between {SMALLEST} and {LARGEST} pixels")
    s = specification
    canvas = Canvas(size)
    light = Light(s)
    shape = geometry.resolve_geometry(s)
    profile = geometry.Profile.of(shape)
    surface = Surface(canvas, shape, profile)
    locks = None if s.bald else hair.Hair(canvas, surface, profile, s)
    colour = hair.hair_colour(s)

    _paint_background(canvas, s)
    if locks is not None:
        locks.paint_back(light)
    clothing.paint_body(canvas, shape, light, s)
    clothing.paint_ears(canvas, surface, light, s)
    skin = Skin(canvas, surface, light, s)
    skin.sculpt()
    if locks is not None:
        skin.shadow(locks.skin_shadow())
    if s.hat:
        skin.shadow(clothing.hat_shadow(surface, s))
    skin.shade()
    features.paint_nostrils(canvas, surface, skin, s)
    skin.label_nose()
    features.paint_facial_hair(canvas, surface, skin, s, colour)
    features.paint_mouth(canvas, surface, skin, s)
    features.paint_eyes(canvas, surface, skin, s)
    features.paint_brows(canvas, surface, skin, s, features.brow_colour(colour))
    if s.glasses and s.occluder != "sunglasses":
        occluders.paint_glasses(canvas, surface, skin, light, s)
    if locks is not None:
        locks.paint_front(light)
    if s.earrings:
        clothing.paint_earrings(canvas, surface, light, s)
    if s.hat:
        clothing.paint_hat(canvas, surface, light, s)
    occluders.paint_occluder(canvas, surface, light, s)
    return RenderedFace(canvas.finish(), canvas.region, geometry.landmarks(shape, profile, size), canvas.occluder)


def _paint_background(canvas: Canvas, s: FaceSpecification) -> None:
    """A gradient between two colours, softly uneven, brighter where the light falls."""
    angle = math.radians(s.background_angle)
    mix = 0.5 + 0.36 * (math.cos(angle) * canvas.x + math.sin(angle) * canvas.y)
    offset = s.texture_seed >> 12 & 255
    mix += 0.16 * noise_at(
        "background", (canvas.y + 1) * 60 + offset, (canvas.x + 1) * 60 + (s.texture_seed >> 20 & 255), (64, 64)
    )
    np.clip(mix, 0, 1, out=mix)
    for channel in range(3):
        first, second = s.background_colour[channel], s.background_second[channel]
        np.multiply(mix, second - first, out=canvas.colour[channel])
        canvas.colour[channel] += first
