"""Features of many faces by a frozen encoder, computed once and kept: what probes are fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from gptface.errors import InputError
from gptface.evaluation.encoders import LAST_LAYER, FaceEncoder, named_features
from gptface.evaluation.training_pictures import plain_pictures
from gptface.training.hardware import has_fast_bf16

__all__ = ["EncodedFaces", "encode_faces", "pool_patches", "token_grid"]

TOKENS_A_SIDE = 8
TOKEN_BYTES = 2 << 30
CELLS_A_SIDE = 4  # of the summary that keeps where something is, as HOG does


@dataclass(frozen=True)
class EncodedFaces:
    """Frozen features.

    Attributes:
        summaries: one vector a face, float32 ``(N, D)``, by name: for linear probes to choose from.
        tokens: float16 ``(N, n, C)``, the last layer's patches, averaged to ``grid``: for attentive pooling.
        grid: rows and columns of ``tokens``.
    """

    summaries: dict[str, np.ndarray]
    tokens: np.ndarray
    grid: tuple[int, int]


def token_grid(grid: tuple[int, int], width: int, faces: int) -> tuple[int, int]:
    """The grid at which the patches of so many faces are kept: at most 8 × 8, fewer where that would exceed 2 GiB."""
    limit = TOKENS_A_SIDE
    while True:
        rows, columns = (_divided(side, limit) for side in grid)
        if limit == 1 or 2 * faces * rows * columns * width <= TOKEN_BYTES:
            return rows, columns
        limit //= 2


def _divided(side: int, limit: int) -> int:
    """``side``, or how many equal parts of it are averaged: a divisor if there is one of more than half the limit."""
    if side <= limit:
        return side
    return next((part for part in range(limit, limit // 2, -1) if side % part == 0), limit)


def pool_patches(patches: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """``patches (B, N, C)`` of a ``grid``, averaged over areas to a grid of ``size``: ``(B, n, C)``."""
    if grid == size:
        return patches
    return adaptive_avg_pool2d(patches.mT.unflatten(2, grid), size).flatten(2).mT


@torch.inference_mode()
def encode_faces(
    encoder: FaceEncoder,
    images: np.ndarray,
    tokens: tuple[int, int],
    *,
    batch_size: int = 64,
    advance: Callable[[int], None] | None = None,
) -> EncodedFaces:
    """Run a frozen encoder over faces, on the device where its weights are; in bfloat16 where that is faster.

    Args:
        encoder: in evaluation mode.
        images: uint8 ``(N, 1 or 3, H, W)``; averaged down to the encoder's size where they are larger.
        tokens: the grid at which patches are kept, see :func:`token_grid`.
        advance: called with the number of faces done.

    Raises:
        InputError: features of another shape than the encoder's ``grid`` says, or that are not finite.
    """
    weights = next(encoder.parameters(), None) if isinstance(encoder, nn.Module) else None
    device = torch.device("cpu") if weights is None else weights.device
    dtype = torch.float32 if weights is None else weights.dtype
    precision = torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.float32 and has_fast_bf16(device))
    patches = encoder.grid[0] * encoder.grid[1]
    cells = min(CELLS_A_SIDE, encoder.grid[0]), min(CELLS_A_SIDE, encoder.grid[1])
    summaries: dict[str, list[np.ndarray]] = {}
    kept: list[np.ndarray] = []

    def keep(name: str, values: Tensor) -> None:
        if not bool(values.isfinite().all()):
            raise InputError(f"encoder: its features ({name}) are not finite")
        summaries.setdefault(name, []).append(values.cpu().numpy())

    for start in range(0, len(images), batch_size):
        pictures = plain_pictures(torch.from_numpy(images[start : start + batch_size]).to(device), encoder.image_size)
        with precision:
            features = named_features(encoder, pictures.to(dtype))
        for name, found in features.items():
            values = found.float()
            if values.ndim == 2 and name != LAST_LAYER:
                keep(name, values)
                continue
            if values.ndim != 3 or values.shape[1] != patches:
                raise InputError(
                    f"encoder: its features ({name}) have the shape {tuple(values.shape)}, "
                    f"but a grid of {encoder.grid[0]} × {encoder.grid[1]} patches needs (B, {patches}, C)"
                )
            keep(f"{name}, mean", values.mean(1))
            if patches > 1:
                keep(f"{name}, {cells[0]} × {cells[1]}", pool_patches(values, encoder.grid, cells).flatten(1))
            if name == LAST_LAYER:
                pooled = pool_patches(values, encoder.grid, tokens).clamp(-65504, 65504)  # the largest float16
                kept.append(pooled.half().cpu().numpy())
        if advance is not None:
            advance(min(start + batch_size, len(images)))
    joined = {name: np.concatenate(parts) for name, parts in summaries.items()}
    return EncodedFaces(joined, np.concatenate(kept), tokens)
