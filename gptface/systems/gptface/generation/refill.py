"""Renewing a part of photos: photo and mask to tokens, unknown tokens to new ones, and the new pixels back into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gptface.data.inputs import seed_list
from gptface.systems.gptface.generation.codec import SystemCodec
from gptface.systems.gptface.generation.drawing import Draw, draw_codes
from gptface.systems.gptface.generation.editing import Frame, composite, even_out, token_mask
from gptface.systems.gptface.generation.ranking import WishVerdict, match_score
from gptface.systems.gptface.generation.results import EditResult, stacked_history
from gptface.systems.gptface.generation.sampler import Decoded

__all__ = ["EditRequest", "refill"]

# Feathering hides the seam of an edit inside its mask: this share of the window's side, in pixels.
FEATHER_SHARE = 0.02


@dataclass(frozen=True)
class EditRequest:
    """An edit with every question answered but what the new pixels are.

    Attributes:
        photos: uint8 ``(H, W, 3)`` each.
        frames: the window of each that the system sees.
        masks: bool ``(H, W)`` each: the pixels that may change, inside the window.
        sources: where each mask came from.
        captions: what each photo is to show.
        draw: seeds and settings.
        hide: fill the masked pixels from their surroundings before the tokens are computed.
        dilation: renew this many rings of tokens around the mask as well.
        feather_width: pixels over which the edit fades in; None for ``FEATHER_SHARE`` of the window.
        verdict: what tells candidates apart; None for the matching head.
    """

    photos: list[np.ndarray]
    frames: list[Frame]
    masks: list[np.ndarray]
    sources: list[str]
    captions: list[str]
    draw: Draw
    hide: bool = True
    dilation: int = 0
    feather_width: int | None = None
    verdict: WishVerdict | None = None


def refill(codec: SystemCodec, request: EditRequest) -> EditResult:
    """Carry out an edit; pixels outside the masks come back as they were, bit for bit."""
    photos, frames, masks = request.photos, request.frames, request.masks
    holes: list[np.ndarray | None] = list(masks) if request.hide else [None] * len(photos)
    images = torch.stack([f.to_model(photo, hole) for f, photo, hole in zip(frames, photos, holes, strict=True)])
    pixels = torch.from_numpy(np.stack([f.mask_to_model(mask) for f, mask in zip(frames, masks, strict=True)]))
    unknown = token_mask(pixels, codec.grid, request.dilation)
    state = codec.state(request.captions, codec.encode(images))
    score, verdict = match_score, request.verdict
    if verdict is not None:

        def score(decoded: Decoded) -> Tensor:
            candidates = even_out(codec.pictures(decoded.state.image_codes).cpu(), images, unknown, codec.grid)
            return verdict(torch.where(pixels.unsqueeze(1), candidates.clamp(-1, 1), seen))

        seen = torch.stack([frame.to_model(photo) for frame, photo in zip(frames, photos, strict=True)])
    decoded = draw_codes(codec, state, unknown.to(codec.device), request.draw, score)
    made = decoded.state.image_codes
    pictures = even_out(codec.pictures(made).cpu(), images, unknown, codec.grid)
    edited = []
    for photo, picture, mask, frame in zip(photos, pictures, masks, frames, strict=True):
        width = round(FEATHER_SHARE * frame.side) if request.feather_width is None else request.feather_width
        edited.append(composite(photo, frame.to_photo(picture), mask, frame, width))
    return EditResult(
        images=edited,
        photos=photos,
        masks=masks,
        sources=request.sources,
        captions=request.captions,
        seeds=seed_list(request.draw.seeds, len(photos)),
        match=decoded.match_log_odds.cpu().numpy(),
        token_masks=unknown.numpy(),
        codes=made.cpu().numpy(),
        history=stacked_history(decoded.history),
    )
