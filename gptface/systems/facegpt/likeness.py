"""Whether a drawn head is in the photo it was made from: the only sign of a face that needs no detector."""

from __future__ import annotations

import torch
from torch import Tensor

from gptface.morphable import FaceParameters, MorphableModel, draw

__all__ = ["face_likeness"]

SIDE = 64
"""Pixels a side at which photo and head are compared: brows, eyes, nose and mouth are there, hairs and pores not."""
FLAT = 2.0 / 255
"""Spread of luminance below which an area is one surface: there is nothing on it that could be a face."""
FEWEST_PIXELS = 50
DEGREE = 4
"""Of the polynomial that is a smooth surface here."""


@torch.no_grad()
def face_likeness(model: MorphableModel, parameters: FaceParameters, photos: Tensor) -> Tensor:
    """How alike the features of drawn heads and of photos are, ``(B,)``, from −1 to 1.

    The correlation of both luminances inside the drawn head, after the smooth surface nearest to each was taken away:
    light that falls off to a side, or dark above and bright below, is in many pictures and says nothing of a face. What
    remains are brows, eyes, nose and mouth. 0 where photo or head are flat, or hardly any of the head is seen.

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
    result = seen.new_zeros(len(seen))
    for index, inside in enumerate(drawn.mask > 0.5):
        if int(inside.sum()) < FEWEST_PIXELS:
            continue
        pair = torch.stack((seen[index][inside], head[index][inside]), -1).double()
        base, _ = torch.linalg.qr(surface[inside].double())
        rest = pair - base @ (base.mT @ pair)
        spread = rest.square().mean(0).sqrt()
        if bool((spread > FLAT).all()):
            result[index] = (rest[:, 0] * rest[:, 1]).mean() / (spread[0] * spread[1])
    return result
