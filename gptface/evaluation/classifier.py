"""An encoder with a head that tells classes apart: pooled patches, a normalisation and one linear map."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gptface.errors import InputError
from gptface.evaluation.encoders import FaceEncoder
from gptface.files import atomic_directory

__all__ = ["POOLINGS", "AttentivePool", "PatchClassifier", "check_savable", "load_classifier", "save_classifier"]

POOLINGS = ("attentive", "mean")
HEADS = 4
_HEAD, _DESCRIPTION = "head.safetensors", "classifier.json"


class AttentivePool(nn.Module):
    """The mean of a picture's patches, weighted by learned scores: other weights for each quarter of the features.

    It begins as the plain mean.

    Args:
        width: of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = HEADS if width % HEADS == 0 else 1
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, self.heads)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, patches: Tensor) -> Tensor:
        """``patches (B, N, C)`` to ``(B, C)``."""
        weights = self.score(self.norm(patches)).softmax(1)
        return torch.einsum("bnh,bnhc->bhc", weights, patches.unflatten(2, (self.heads, -1))).flatten(1)


class _MeanPool(nn.Module):
    def forward(self, patches: Tensor) -> Tensor:
        return patches.mean(1)


class PatchClassifier(nn.Module):
    """Logits from the pooled features of an encoder's patches.

    Args:
        encoder: a module that satisfies :class:`~gptface.evaluation.encoders.FaceEncoder`.
        classes: their names.
        pooling: one of ``POOLINGS``.
    """

    def __init__(self, encoder: FaceEncoder, classes: Sequence[str], *, pooling: str = "attentive") -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise InputError(f"pooling: got {pooling}; allowed are {' and '.join(POOLINGS)}")
        self.classes = tuple(classes)
        self.pooling = pooling
        self.size = encoder.image_size
        self.encoder = cast(nn.Module, encoder)
        self.pool = AttentivePool(encoder.width) if pooling == "attentive" else _MeanPool()
        self.norm = nn.LayerNorm(encoder.width)
        self.output = nn.Linear(encoder.width, len(self.classes))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        """``pictures (B, 3, S, S)`` in [−1, 1] to logits ``(B, classes)``."""
        patches = cast(FaceEncoder, self.encoder).forward_features(pictures)
        return self.output(self.norm(self.pool(patches)))

    def head_state(self) -> dict[str, Tensor]:
        """The weights beside the encoder's."""
        return {
            name: value.detach().cpu().contiguous()
            for name, value in self.state_dict().items()
            if not name.startswith("encoder.")
        }


def check_savable(encoder: object) -> None:
    """Refuse an encoder that cannot be saved on its own.

    Raises:
        InputError: it cannot.
    """
    if not hasattr(encoder, "save_pretrained"):
        raise InputError(f"save: a {type(encoder).__name__} cannot be saved on its own")


def save_classifier(classifier: PatchClassifier, folder: str | os.PathLike[str], **facts: Any) -> None:
    """Write a classifier in one step: ``encoder/`` as its system keeps encoders, ``head.safetensors`` and
    ``classifier.json`` with classes, pooling and ``facts``.

    Raises:
        InputError: the encoder cannot be saved on its own.
    """
    check_savable(classifier.encoder)
    described = {"classes": classifier.classes, "pooling": classifier.pooling, "image_size": classifier.size, **facts}
    with atomic_directory(folder) as temporary:
        classifier.encoder.save_pretrained(temporary / "encoder")  # type: ignore[operator]
        save_file(classifier.head_state(), temporary / _HEAD)
        (temporary / _DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def load_classifier(folder: str | os.PathLike[str], encoder: FaceEncoder) -> PatchClassifier:
    """The classifier that :func:`save_classifier` wrote, in evaluation mode.

    Args:
        folder: where it lies.
        encoder: opened from its ``encoder/``.

    Raises:
        InputError: the folder holds no classifier, or one for another encoder.
    """
    folder = Path(folder)
    try:
        described = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        classifier = PatchClassifier(encoder, described["classes"], pooling=described["pooling"])
        head = load_file(folder / _HEAD)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"classifier: {folder} holds none that can be read ({error})") from error
    own = classifier.head_state()
    if {name: value.shape for name, value in head.items()} != {name: value.shape for name, value in own.items()}:
        raise InputError(f"classifier: the head in {folder} does not fit an encoder of width {encoder.width}")
    classifier.load_state_dict(head, strict=False)
    return classifier.eval()
