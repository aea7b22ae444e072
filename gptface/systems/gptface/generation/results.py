"""What generation, editing and captioning return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gptface.evaluation.pictures import mask_overlay

__all__ = ["CaptionResult", "EditResult", "GenerationResult", "stacked_history"]


@dataclass(frozen=True)
class GenerationResult:
    """Pictures made from captions.

    Attributes:
        images: uint8 ``(B, H, W, 3)``.
        captions, seeds: what was asked for.
        match: ``(B,)`` float32 log-odds of "caption and picture belong together".
        codes: ``(B, N)`` int64.
        history: ``(steps + 1, B, N)`` int64 tokens before the first step and after each, if asked for; K = unknown.
    """

    images: np.ndarray
    captions: list[str]
    seeds: list[int]
    match: np.ndarray
    codes: np.ndarray
    history: np.ndarray | None = None


@dataclass(frozen=True)
class EditResult:
    """Edited photos.

    Attributes:
        images: uint8 ``(H, W, 3)`` each, as large as the photo; equal to it outside the mask.
        photos: what was given.
        masks: bool ``(H, W)`` each: the pixels that could change.
        sources: where each mask came from: ``"mask"``, ``"region_map"``, ``"parser"`` or ``"template"``.
        captions, seeds: what was asked for.
        match: ``(B,)`` float32 log-odds of "wish and edited picture belong together".
        token_masks: ``(B, N)`` bool: the tokens that were decoded anew.
        codes: ``(B, N)`` int64 after the edit.
        history: as in :class:`GenerationResult`.
    """

    images: list[np.ndarray]
    photos: list[np.ndarray]
    masks: list[np.ndarray]
    sources: list[str]
    captions: list[str]
    seeds: list[int]
    match: np.ndarray
    token_masks: np.ndarray
    codes: np.ndarray
    history: np.ndarray | None = None

    def strip(self, index: int = 0) -> np.ndarray:
        """Photo, what may change on it, and the edit side by side: uint8 ``(H, 3 W + 2 gaps, 3)``."""
        photo, mask = self.photos[index], self.masks[index]
        gap = np.full((photo.shape[0], max(1, photo.shape[1] // 32), 3), 255, dtype=np.uint8)
        return np.concatenate([photo, gap, mask_overlay(photo, mask), gap, self.images[index]], axis=1)


@dataclass(frozen=True)
class CaptionResult:
    """Captions of pictures.

    Attributes:
        captions: one a picture.
        match: ``(B,)`` float32 log-odds of "caption and picture belong together".
        candidates: all captions that were considered, best match first, one list a picture.
    """

    captions: list[str]
    match: np.ndarray
    candidates: list[list[str]]


def stacked_history(history: list[Tensor] | None) -> np.ndarray | None:
    """``(steps + 1, B, N)`` int64 of the tokens after each step, None where they were not kept."""
    return None if history is None else torch.stack(history).cpu().numpy()
