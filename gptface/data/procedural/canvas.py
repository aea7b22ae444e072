"""The picture in the making: linear colour planes, region labels, anti-aliased painting, tone mapping."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gptface.faces.regions import REGIONS

from .specification import Colour

__all__ = ["FULL", "LABEL", "Canvas", "Window", "clamp"]

LABEL = {name: index for index, name in enumerate(REGIONS)}
Window = tuple[slice, slice]
FULL: Window = (slice(None), slice(None))
_TONE_STEPS, _TONE_WHITE = 4096, 1.6


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size) - 1
    x, y = np.meshgrid(centres, centres)
    for plane in (x, y):
        plane.setflags(write=False)
    return x, y


@lru_cache(maxsize=1)
def _tone_curve() -> np.ndarray:
    """uint8 table from linear light in [0, 1.6]: a soft shoulder towards white, then the sRGB transfer function."""
    light = np.linspace(0, _TONE_WHITE, _TONE_STEPS)
    knee = 0.55
    span = 1 - knee
    light = np.where(light < knee, light, knee + span * (1 - np.exp(-(light - knee) / span)))
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return np.rint(255 * np.clip(encoded, 0, 1)).astype(np.uint8)


def clamp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """``np.clip`` without its dispatch, which costs more than the work on pictures this small."""
    raised = np.maximum(values, low)
    return np.minimum(raised, high, out=raised)


class Canvas:
    """Square picture of ``size`` pixels; ``x`` and ``y`` (size, size) are image coordinates in [-1, 1], y downwards."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pixel = 2.0 / size
        self.x, self.y = _grid(size)
        self.colour = np.empty((3, size, size), dtype=np.float32)
        self.region = np.zeros((size, size), dtype=np.uint8)
        self.occluder = np.zeros((size, size), dtype=bool)

    def window(self, x: float, y: float, half_width: float, half_height: float) -> Window:
        """The pixels within a box of image coordinates (possibly none)."""
        size, half = self.size, self.size / 2
        left = min(max(int((x - half_width + 1) * half) - 1, 0), size)
        right = min(max(int((x + half_width + 1) * half) + 2, 0), size)
        top = min(max(int((y - half_height + 1) * half) - 1, 0), size)
        bottom = min(max(int((y + half_height + 1) * half) + 2, 0), size)
        return slice(top, max(bottom, top)), slice(left, max(right, left))

    def coverage(self, distance: np.ndarray, unit: float = 1.0) -> np.ndarray:
        """Share of each pixel inside a shape, from the signed distance to it (negative inside).

        The distance's ``unit`` is in image coordinates.
        """
        alpha = distance * (-unit / self.pixel)
        alpha += 0.5
        np.maximum(alpha, 0, out=alpha)
        return np.minimum(alpha, 1, out=alpha)

    def paint(
        self,
        alpha: np.ndarray,
        colour: Colour | np.ndarray,
        window: Window = FULL,
        light: np.ndarray | None = None,
        label: str | None = None,
    ) -> None:
        """Lay a colour over the window, ``alpha`` (h, w) opaque; where more than half covered, the region is ``label``.

        The colour is linear RGB or (3, h, w), and is multiplied with ``light`` (3, h, w) where that is given.
        """
        if not isinstance(colour, np.ndarray):
            colour = np.array(colour, dtype=np.float32).reshape(3, 1, 1)
        target = self.colour[:, window[0], window[1]]
        difference = (colour if light is None else light * colour) - target
        difference *= alpha
        target += difference
        if label is not None:
            np.copyto(self.region[window], LABEL[label], where=alpha > 0.5)

    def finish(self) -> np.ndarray:
        """uint8 (size, size, 3) RGB."""
        scaled = self.colour * np.float32((_TONE_STEPS - 1) / _TONE_WHITE)
        np.clip(scaled, 0, _TONE_STEPS - 1, out=scaled)
        planes = _tone_curve()[scaled.astype(np.int16)]
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
