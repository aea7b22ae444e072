"""How unlike a drawn head and a picture are: colours inside the face, and the places of 68 landmarks."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw

from gptface.errors import InputError
from gptface.evaluation.landmark_faces import normalised_errors
from gptface.morphable import FaceParameters, MorphableModel, draw, project_landmarks
from gptface.systems.facegpt.evaluation.methods import part
from gptface.systems.facegpt.refinement import as_seen, without_colour

__all__ = ["face_masks", "landmark_errors", "photometric_errors"]

HEADS_AT_ONCE = 32
_OUTLINE = (*range(17), *range(26, 16, -1))
"""The jaw from one ear to the other, and back along the brows."""


def face_masks(points: np.ndarray, size: int) -> np.ndarray:
    """bool ``(B, size, size)``: the pixels between jaw and brows of landmarks ``(B, 68, 2)`` in pixels.

    The same pixels for whatever head is compared, so that no head gains by being small.
    """
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise InputError(f"points have the shape {points.shape}; they must be (faces, 68, 2)")
    masks = np.zeros((len(points), size, size), dtype=bool)
    for mask, outline in zip(masks, points[:, list(_OUTLINE)], strict=True):
        canvas = Image.new("1", (size, size))
        ImageDraw.Draw(canvas).polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in outline], fill=1)
        mask[:] = np.array(canvas)
    return masks


@torch.no_grad()
def photometric_errors(
    model: MorphableModel, parameters: FaceParameters, images: np.ndarray, masks: np.ndarray
) -> np.ndarray:
    """Mean absolute difference of head and picture inside ``masks``, float ``(B,)``, in sRGB from 0 to 1.

    Where no head is drawn inside a mask, black is compared. NaN where a mask is empty.

    Args:
        model, parameters: of ``B`` heads.
        images: uint8 ``(B, S, S, 3)``; those that are grey are compared by luminance.
        masks: bool ``(B, S, S)``.
    """
    size = images.shape[1]
    device = model.mean.device
    errors = []
    for start in range(0, len(images), HEADS_AT_ONCE):
        rows = slice(start, start + HEADS_AT_ONCE)
        seen = torch.from_numpy(images[rows]).to(device).float() / 255
        inside = torch.from_numpy(masks[rows]).to(device)
        drawn = draw(model, part(parameters, rows), size, size).image.expand_as(seen)
        difference = (as_seen(drawn, without_colour(seen)) - seen).abs().mean(-1)
        errors.append((difference * inside).sum((1, 2)) / inside.sum((1, 2)))
    return torch.cat(errors).double().cpu().numpy() if errors else np.zeros(0)


@torch.no_grad()
def landmark_errors(model: MorphableModel, parameters: FaceParameters, points: np.ndarray, size: int) -> np.ndarray:
    """Mean distance of a head's 68 landmarks from ``points (B, 68, 2)``, by the eyes' distance: float ``(B,)``."""
    found = project_landmarks(model, parameters, size, size).expand(len(points), -1, -1)
    return normalised_errors(found.double().cpu().numpy(), points.astype(np.float64))
