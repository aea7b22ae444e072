"""The synthetic head's ground form: a surface through the outlines of a head from side and front."""

from __future__ import annotations

import numpy as np

__all__ = ["CORNER", "EYE", "EYE_RADII", "MOUTH_LINE", "Loft", "bump"]

EYE = np.array([3.15, 2.45, 6.75])
"""Middle of the person's left eyeball, centimetres; the right one is its mirror image."""
EYE_RADII = np.array([1.52, 1.28, 1.28])
MOUTH_LINE = -4.2
"""Height of the line between the closed lips."""
CORNER = 2.45
"""Half the width of the mouth."""

# One row a level, from the crown to the base of the neck: the front outline without nose and lips (y, z), the back
# outline (y, z), and the widest place (x, y, z), in centimetres; then how square the front of the section is.
_LEVELS = np.array(
    [
        #  y     z      y     z      x     y     z     n
        (12.60, -0.5, 12.60, -0.5, 0.05, 12.6, -0.5, 2.0),
        (12.35, 2.6, 12.35, -3.3, 3.70, 12.2, -0.5, 2.0),
        (11.30, 5.8, 11.40, -6.0, 5.80, 11.0, -0.8, 2.1),
        (9.40, 8.2, 9.70, -8.1, 7.00, 9.2, -1.0, 2.2),
        (7.30, 9.4, 7.90, -9.3, 7.50, 7.4, -1.2, 2.3),
        (5.40, 9.8, 6.20, -9.8, 7.70, 5.6, -1.3, 2.4),
        (4.10, 9.8, 4.70, -9.9, 7.75, 4.4, -1.3, 2.4),
        (2.80, 9.3, 3.40, -9.7, 7.70, 3.3, -1.3, 2.4),
        (1.50, 9.2, 2.20, -9.4, 7.55, 2.2, -1.2, 2.3),
        (0.20, 9.3, 1.00, -8.9, 7.30, 1.0, -1.1, 2.3),
        (-1.00, 9.45, -0.30, -8.3, 7.00, -0.2, -1.0, 2.2),
        (-2.10, 9.6, -1.40, -7.8, 6.75, -1.3, -0.8, 2.15),
        (-3.20, 9.75, -2.40, -7.4, 6.50, -2.3, -0.6, 2.1),
        (-4.20, 9.75, -3.30, -7.2, 6.20, -3.2, -0.5, 2.05),
        (-5.20, 9.5, -4.20, -7.0, 5.90, -4.0, -0.5, 2.0),
        (-6.20, 9.2, -5.20, -6.9, 5.60, -4.8, -0.5, 2.0),
        (-7.30, 9.4, -6.20, -6.7, 5.20, -5.6, -0.6, 2.0),
        (-8.30, 9.0, -7.20, -6.6, 4.75, -6.4, -0.9, 2.0),
        (-8.95, 7.9, -8.20, -6.5, 4.45, -7.2, -1.2, 2.0),
        (-9.20, 6.0, -9.20, -6.5, 4.45, -8.0, -1.4, 2.0),
        (-9.60, 4.0, -10.40, -6.6, 4.40, -9.4, -1.7, 2.0),
        (-11.00, 2.7, -12.00, -6.8, 4.50, -11.3, -2.0, 2.0),
        (-13.00, 2.3, -13.60, -7.2, 4.80, -13.2, -2.2, 2.0),
        (-15.00, 2.6, -15.00, -7.7, 5.50, -15.0, -2.3, 2.0),
    ]
)


def bump(
    x: np.ndarray, y: np.ndarray, at: tuple[float, float], width: float, height: float | None = None
) -> np.ndarray:
    """A Gaussian of height 1 over the plane of the face; ``width`` and ``height`` are its two standard deviations."""
    return np.exp(-0.5 * (((x - at[0]) / width) ** 2 + ((y - at[1]) / (height or width)) ** 2))


class Loft:
    """The ground surface, by angle and level.

    ``at(angle, level)`` gives a point; angle 0 is the front, π/2 the person's left side, π the back; level 0 is the
    crown, 1 the base of the neck.
    """

    def __init__(self) -> None:
        steps = np.linalg.norm(np.diff(_LEVELS[:, :2], axis=0), axis=1)
        self.knots = np.concatenate(([0.0], np.cumsum(steps))) / steps.sum()
        slopes = np.gradient(_LEVELS, self.knots, axis=0)
        self.slopes = slopes

    def _level(self, level: np.ndarray) -> np.ndarray:
        """The rows of ``_LEVELS`` between the given ones: cubic Hermite curves, ``(..., 8)``."""
        level = np.clip(level, 0.0, 1.0)
        index = np.clip(np.searchsorted(self.knots, level, side="right") - 1, 0, len(self.knots) - 2)
        span = self.knots[index + 1] - self.knots[index]
        t = ((level - self.knots[index]) / span)[..., None]
        step = span[..., None]
        return (
            (2 * t**3 - 3 * t**2 + 1) * _LEVELS[index]
            + (t**3 - 2 * t**2 + t) * step * self.slopes[index]
            + (3 * t**2 - 2 * t**3) * _LEVELS[index + 1]
            + (t**3 - t**2) * step * self.slopes[index + 1]
        )

    def at(self, angle: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Points ``(..., 3)``."""
        angle, level = np.broadcast_arrays(np.asarray(angle, dtype=float), np.asarray(level, dtype=float))
        row = self._level(level)
        front_y, front_z, back_y, back_z, width, side_y, side_z, square = np.moveaxis(row, -1, 0)
        sine, cosine = np.sin(angle), np.cos(angle)
        front = cosine >= 0
        power = np.where(front, 2 / square, 1.0)
        across = np.sign(sine) * np.abs(sine) ** power
        along = np.abs(cosine) ** power
        z = np.where(front, side_z + (front_z - side_z) * along, side_z + (back_z - side_z) * along)
        lean = cosine * cosine
        y = side_y + (np.where(front, front_y, back_y) - side_y) * lean
        return np.stack((width * across, y, z), -1)

    def find(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The front points above ``(x, y)``: Newton's method from a start that the flat face is near to."""
        angle = np.arcsin(np.clip(x / 9.0, -0.9, 0.9))
        level = np.interp(-y, -_LEVELS[:, 0], self.knots)
        small = 1e-4
        for _ in range(30):
            here = self.at(angle, level)
            error_x, error_y = x - here[..., 0], y - here[..., 1]
            by_angle = (self.at(angle + small, level) - here) / small
            by_level = (self.at(angle, level + small) - here) / small
            determinant = by_angle[..., 0] * by_level[..., 1] - by_level[..., 0] * by_angle[..., 1]
            determinant = np.where(np.abs(determinant) < 1e-9, 1e-9, determinant)
            step_angle = (error_x * by_level[..., 1] - by_level[..., 0] * error_y) / determinant
            step_level = (by_angle[..., 0] * error_y - error_x * by_angle[..., 1]) / determinant
            angle = np.clip(angle + np.clip(step_angle, -0.2, 0.2), -1.45, 1.45)
            level = np.clip(level + np.clip(step_level, -0.05, 0.05), 0.0, 0.999)
        return self.at(angle, level)
