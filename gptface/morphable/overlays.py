"""A head beside the photo it was made from: photo, head over photo, head, and the head turned."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gptface.errors import InputError
from gptface.morphable.model import MorphableModel
from gptface.morphable.parameters import FaceParameters, draw
from gptface.morphable.pictures import BACKGROUND, check_picture_size, portrait
from gptface.morphable.rotation import angles_to_matrix, matrix_to_rotation_6d, rotation_6d_to_matrix

__all__ = ["OVERLAY_COLUMNS", "overlay_strip", "without_pose"]

OVERLAY_COLUMNS = ("photo", "head over photo", "head", "turned left", "turned right")
TURN = 35.0
"""Degrees by which the last two pictures are turned: a cheek and the profile of the nose show."""
OPACITY = 0.7
"""Of the head over the photo: where both differ, both still show."""
SUPERSAMPLING = 2


def without_pose(model: MorphableModel, parameters: FaceParameters) -> FaceParameters:
    """The same heads facing the camera in a portrait in studio light: shape and colours alone are kept."""
    neutral = FaceParameters.neutral(model, parameters.identity.shape[0])
    return neutral.replace(
        identity=parameters.identity, expression=parameters.expression, albedo=parameters.albedo
    )


@torch.no_grad()
def overlay_strip(
    model: MorphableModel, parameters: FaceParameters, photo: np.ndarray, size: int = 192
) -> np.ndarray:
    """Pictures side by side, uint8 ``(size, 5 · size, 3)``, as :data:`OVERLAY_COLUMNS` names them, of the first head.

    The third has the photo's pose, place and light; the turned ones are portraits in studio light.

    Args:
        model: the model.
        parameters: of one head or more.
        photo: uint8 ``(S, S, 3)``: the square that the parameters place the head in.
        size: side of one picture in pixels, 8 to 4096.

    Raises:
        InputError: a photo of another kind, parameters that are not finite, a size that is no picture, or nothing of
            the head is to be seen.
    """
    check_picture_size(size)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[0] != photo.shape[1] or photo.shape[2] != 3:
        raise InputError(f"photo is {photo.dtype} {photo.shape}; it must be a square of uint8 (side, side, 3)")
    parameters.check()
    first = FaceParameters(**{name: value[:1] for name, value in vars(parameters).items()})
    device = model.mean.device
    shown = _resized(torch.from_numpy(photo.copy()).to(device).permute(2, 0, 1)[None].float() / 255, size)
    side = size * SUPERSAMPLING
    drawn = draw(model, first, side, side)
    pooled = torch.nn.functional.avg_pool2d(
        torch.cat((drawn.image * drawn.mask[..., None], drawn.mask[..., None]), -1).permute(0, 3, 1, 2), SUPERSAMPLING
    )
    head, covered = pooled[:, :3], pooled[:, 3:]  # the head's colours are weighted with how much it covers
    over = shown * (1 - OPACITY * covered) + OPACITY * head
    alone = BACKGROUND * (1 - covered) + head
    strip = [_picture(image) for image in (shown, over, alone)]
    plain = without_pose(model, first)
    for yaw in (-TURN, TURN):
        angle = torch.tensor([yaw], device=device)
        turn = angles_to_matrix(angle, torch.zeros_like(angle), torch.zeros_like(angle))
        turned = plain.replace(rotation=matrix_to_rotation_6d(turn @ rotation_6d_to_matrix(plain.rotation)))
        strip.append(portrait(model, turned, size))
    return np.concatenate(strip, 1)


def _resized(image: Tensor, size: int) -> Tensor:
    if image.shape[-1] == size:
        return image
    smaller = image.shape[-1] > size
    return torch.nn.functional.interpolate(
        image, (size, size), mode="bilinear", antialias=smaller, align_corners=False
    )


def _picture(image: Tensor) -> np.ndarray:
    """uint8 ``(S, S, 3)`` of one ``(1, 3, S, S)``."""
    return (image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
