"""An encoder small enough for a test: two transformer layers over patches of 4² pixels."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gptface.models.patches import PatchEmbedding, sine_cosine_positions
from gptface.models.transformer_layer import TransformerLayer

__all__ = ["TinyEncoder"]


class TinyEncoder(nn.Module):
    """Satisfies ``FaceEncoder``; saved and opened again in the manner of ``save_pretrained``."""

    positions: Tensor

    def __init__(self, image_size: int = 16, width: int = 32, seed: int = 0) -> None:
        super().__init__()
        side = image_size // 4
        self.image_size, self.grid, self.width = image_size, (side, side), width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = PatchEmbedding(4, width)
            self.register_buffer("positions", sine_cosine_positions(self.grid, width))
            self.layers = nn.ModuleList(TransformerLayer(width, 2, 2 * width) for _ in range(2))
            self.norm = nn.LayerNorm(width)

    def forward_features(self, images: Tensor) -> Tensor:
        states = self.embed(images) + self.positions
        for layer in self.layers:
            states = layer(states)
        return self.norm(states)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        Path(folder).mkdir(parents=True)
        save_file(self.state_dict(), Path(folder) / "model.safetensors")

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> TinyEncoder:
        encoder = cls()
        encoder.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return encoder
