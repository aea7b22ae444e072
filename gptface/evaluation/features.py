"""Frozen representations of faces, for probes."""

from __future__ import annotations

import numpy as np
import torch

from gptface.models import FaceLanguageModel, FaceTokenizer, Regime, build_sequence
from gptface.models.pixels import images_to_tensor

__all__ = ["pixel_features", "transformer_features"]


def pixel_features(images: np.ndarray, size: int = 32) -> np.ndarray:
    """Grey values of ``images`` (uint8 ``(N, H, W, 3)``) averaged down to ``size``²: ``(N, size*size)`` float32."""
    grey = torch.from_numpy(images.astype(np.float32).mean(axis=-1) / 255).unsqueeze(1)
    return torch.nn.functional.adaptive_avg_pool2d(grey, size).flatten(1).numpy()


@torch.no_grad()
def transformer_features(
    tokenizer: FaceTokenizer, model: FaceLanguageModel, images: np.ndarray, *, layer: int = -1, batch_size: int = 64
) -> np.ndarray:
    """Mean of the hidden states at the image tokens, seen without a caption: ``(N, width)`` float32.

    Args:
        images: uint8 ``(N, H, W, 3)`` at the tokenizer's size.
        layer: index into the hidden states (0 is the embedding, -1 the last layer).
    """
    tokenizer.eval()
    model.eval()
    device = next(model.parameters()).device
    found = []
    for start in range(0, len(images), batch_size):
        codes = tokenizer.encode(images_to_tensor(images[start : start + batch_size]).to(device))
        empty = torch.zeros(len(codes), 0, dtype=torch.int64, device=device)
        sequence = build_sequence(model.vocabulary, empty, [0] * len(codes), codes, Regime.MASKED)
        _, states = model(
            sequence.token_ids,
            sequence.position_ids,
            sequence.segment_ids,
            sequence.regimes,
            sequence.attention_mask,
            output_hidden_states=True,
        )
        hidden = states[layer]
        rows = torch.arange(len(codes), device=device).unsqueeze(1)
        found.append(hidden[rows, sequence.image_slots].float().mean(1).cpu().numpy())
    return np.concatenate(found)
