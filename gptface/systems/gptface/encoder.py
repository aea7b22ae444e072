"""A trained GPTFace as an image encoder: the hidden states of its image tokens."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gptface.evaluation.encoders import EncoderKind
from gptface.models import FaceTokenizer
from gptface.systems.gptface.sequence import Regime, build_sequence
from gptface.systems.gptface.system import FaceSystem
from gptface.systems.gptface.transformer import FaceLanguageModel

__all__ = ["ENCODER", "GPTFaceEncoder"]


class GPTFaceEncoder(nn.Module):
    """Features of faces that are seen without a caption.

    The image tokenizer is frozen: codes are discrete, so a gradient ends there. The transformer can be trained on.

    Args:
        tokenizer: pictures to codes.
        model: the transformer over them.
    """

    def __init__(self, tokenizer: FaceTokenizer, model: FaceLanguageModel) -> None:
        super().__init__()
        self.tokenizer = tokenizer.requires_grad_(False)
        self.model = model
        self.image_size: int = tokenizer.config.image_size
        rows, columns = tokenizer.config.grid
        self.grid: tuple[int, int] = (rows, columns)
        self.width: int = model.config.hidden_size

    def train(self, mode: bool = True) -> GPTFaceEncoder:
        super().train(mode)
        self.tokenizer.eval()
        return self

    def forward_named_features(self, images: Tensor) -> dict[str, Tensor]:
        """The residual stream at the image tokens, ``(B, N, C)``, for images ``(B, 3, S, S)`` in [−1, 1].

        ``"last layer"``, ``"penultimate layer"``, ``"middle layer"`` and ``"embedding"``; a model with alignment towers
        also has ``"alignment"`` (B, D), the picture's summary as it is compared with captions.
        """
        with torch.no_grad():
            codes = self.tokenizer.encode(images)
        empty = torch.zeros(len(codes), 0, dtype=torch.int64, device=codes.device)
        nothing = torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
        sequence = build_sequence(self.model.vocabulary, empty, nothing, codes, Regime.MASKED)
        states = self.model.layer_states(sequence)
        rows = torch.arange(len(codes), device=codes.device).unsqueeze(1)
        depth = len(states) - 1
        depths = {"embedding": 0, "middle layer": depth // 2, "penultimate layer": depth - 1, "last layer": depth}
        # A shallow model has fewer depths than names; the later name stays.
        named = {depth: name for name, depth in depths.items()}
        features = {name: states[depth][rows, sequence.image_slots] for depth, name in named.items()}
        if self.model.alignment is not None:
            features["alignment"], _ = self.model.alignment.embed(
                *self.model.alignment.summaries(empty, nothing, codes)
            )
        return features

    def forward_features(self, images: Tensor) -> Tensor:
        """``"last layer"`` of :meth:`forward_named_features`."""
        return self.forward_named_features(images)["last layer"]

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images)


def _open(folder: Path) -> GPTFaceEncoder:
    system = FaceSystem.from_pretrained(folder)
    return GPTFaceEncoder(system.tokenizer, system.model).eval()


def _initialise(folder: Path, seed: int) -> GPTFaceEncoder:
    system = FaceSystem.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FaceLanguageModel(system.model.config)
    return GPTFaceEncoder(system.tokenizer, model).eval()


ENCODER = EncoderKind(
    "a GPTFace system (what `gptface train pretrain` leaves)",
    lambda folder: (folder / "tokenizer").is_dir() and (folder / "model").is_dir(),
    _open,
    _initialise,
)
