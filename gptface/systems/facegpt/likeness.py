"""Whether a drawn head is in the photo it was made from: the only sign of a face that needs no detector."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gptface.morphable import FaceParameters, MorphableModel, draw, project_landmarks

__all__ = ["face_likeness"]

SIDE = 64
"""Pixels a side at which photo and head are compared: brows, eyes, nose and mouth are there, hairs and pores not."""
FLAT = 2.0 / 255
"""Spread of luminance below which an area is one surface: there is nothing on it that could be a face."""
FEWEST_PIXELS = 50
SHIFT = 3
"""Pixels of these by which a head may lie beside the face it was made of: systems place faces a little off."""
ABOVE_BROWS = 0.2
"""How far the face reaches above the brows, in distances of theirs from the nose."""
DEGREE = 4
"""Of the polynomial that is a smooth surface here."""


@torch.no_grad()
def face_likeness(model: MorphableModel, parameters: FaceParameters, photos: Tensor) -> Tensor:
    """How alike the features of drawn heads and of photos are, ``(B,)``, from −1 to 1.

    The correlation of both luminances inside the drawn face, after the smooth surface nearest to each was taken away:
    light that falls off to a side, or dark above and bright below, is in many pictures and says nothing of a face. What
    remains are brows, eyes, nose and mouth. They may lie :data:`SHIFT` pixels off; the best place counts. Hair, which
    heads have none of, is not looked at where the model has landmarks: the face then reaches from the jaw to the brows.
    0 where photo or head are flat, or hardly any of the face is seen.

    Args:
        model: the model.
        parameters: of ``B`` heads.
        photos: ``(B, 3, S, S)`` sRGB, 0 to 1: the squares that the parameters place the heads in.
    """
    drawn = draw(model, parameters, SIDE, SIDE)
    photos = photos.to(drawn.image)
    small = torch.nn.functional.interpolate(
        photos, (SIDE, SIDE), mode="bilinear", antialias=photos.shape[-1] > SIDE, align_corners=False
    )
    weights = small.new_tensor([0.299, 0.587, 0.114])
    seen = torch.einsum("bchw,c->bhw", small, weights)
    head = drawn.image @ weights
    axis = torch.linspace(-1, 1, SIDE, device=seen.device, dtype=seen.dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    surface = torch.stack([x**i * y**j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)], -1)
    shifts = range(2 * SHIFT + 1)
    seen = torch.nn.functional.pad(seen[:, None], (SHIFT,) * 4, mode="replicate")[:, 0]
    result = seen.new_zeros(len(seen))
    for index, inside in enumerate((drawn.mask > 0.5) & _faces(model, parameters)):
        if int(inside.sum()) < FEWEST_PIXELS:
            continue
        moved = [seen[index, y : y + SIDE, x : x + SIDE][inside] for y in shifts for x in shifts]
        values = torch.stack((head[index][inside], *moved), 1).double()
        base, _ = torch.linalg.qr(surface[inside].double())
        rest = values - base @ (base.mT @ values)
        spread = rest.square().mean(0).sqrt()
        alike = (rest[:, :1] * rest[:, 1:]).mean(0) / (spread[0] * spread[1:]).clamp_min(FLAT**2)
        result[index] = torch.where((spread[0] > FLAT) & (spread[1:] > FLAT), alike, 0.0).max()
    return result


def _faces(model: MorphableModel, parameters: FaceParameters) -> Tensor:
    """bool ``(B, SIDE, SIDE)``: from the jaw to a little above the brows; everything for a model without landmarks."""
    points = project_landmarks(model, parameters, SIDE, SIDE)
    if points.shape[1] != 68:
        return torch.ones(len(points), SIDE, SIDE, dtype=torch.bool, device=points.device)
    brows = points[:, 17:27]
    raised = brows + ABOVE_BROWS * (brows.mean(1, keepdim=True) - points[:, 33:34])
    masks = []
    for outline in torch.cat((points[:, :17], raised.flip(1)), 1).tolist():
        area = Image.new("1", (SIDE, SIDE))
        ImageDraw.Draw(area).polygon([(x, y) for x, y in outline], fill=1)
        masks.append(torch.from_numpy(np.array(area)))
    return torch.stack(masks).to(points.device)
