"""Representations of faces by a frozen GPTFace, for probes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gptface.data.pixels import images_to_tensor
from gptface.models import FaceTokenizer
from gptface.systems.gptface import FaceLanguageModel, Regime, build_sequence

__all__ = ["transformer_features"]


@torch.no_grad()
def transformer_features(
    tokenizer: FaceTokenizer,
    model: FaceLanguageModel,
    images: np.ndarray,
    *,
    layers: Sequence[int] = (-1,),
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """Features of faces that are seen without a caption: name -> ``(N, width)`` float32.

    ``"layer n"`` is the mean of that layer's hidden states at the image tokens; a model with alignment towers also has
    ``"alignment"``, the picture's summary as it is compared with captions.

    Args:
        images: uint8 ``(N, H, W, 3)`` at the tokenizer's size.
        layers: indices into the hidden states (0 is the embedding, -1 the last layer).
    """
    tokenizer.eval()
    model.eval()
    device = next(model.parameters()).device
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(images), batch_size):
        codes = tokenizer.encode(images_to_tensor(images[start : start + batch_size], device))
        empty = torch.zeros(len(codes), 0, dtype=torch.int64, device=device)
        nothing = torch.zeros(len(codes), dtype=torch.int64, device=device)
        sequence = build_sequence(model.vocabulary, empty, nothing, codes, Regime.MASKED)
        states = model.layer_states(sequence)
        rows = torch.arange(len(codes), device=device).unsqueeze(1)
        features = {f"layer {layer}": states[layer][rows, sequence.image_slots].mean(1) for layer in layers}
        if model.alignment is not None:
            features["alignment"], _ = model.alignment.embed(*model.alignment.summaries(empty, nothing, codes))
        for name, values in features.items():
            found.setdefault(name, []).append(values.float().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}
