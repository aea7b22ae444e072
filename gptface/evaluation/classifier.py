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
from gptface.evaluation.encoders import FaceEncoder, VisibleFeatures
from gptface.files import atomic_directory

__all__ = ["POOLINGS", "AttentivePool", "PatchClassifier", "check_savable", "load_classifier", "save_classifier"]

POOLINGS = ("attentive", "mean")
HEADS = 4
PROBE_PENALTY = 0.02  # of the regression that a head starts with: strong, since few labels are where it matters
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
        keep: share of a picture's patches, drawn anew each time, that training sees: half of them cost half as much.

    Raises:
        InputError: another pooling, a share that is none, or one of an encoder that takes whole pictures only.
    """

    def __init__(
        self, encoder: FaceEncoder, classes: Sequence[str], *, pooling: str = "attentive", keep: float = 1.0
    ) -> None:
        super().__init__()
        if not 0 < keep <= 1:
            raise InputError(f"keep: got {keep}; it must be more than 0 and at most 1")
        if keep < 1 and not isinstance(encoder, VisibleFeatures):
            raise InputError(f"keep: got {keep}, but a {type(encoder).__name__} takes whole pictures only")
        self.keep = keep
        self.patches = encoder.grid[0] * encoder.grid[1]
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

    def pooled(self, pictures: Tensor) -> Tensor:
        """``pictures (B, 3, S, S)`` in [−1, 1] to what the last linear map is given, ``(B, C)``."""
        if self.training and self.keep < 1:
            order = torch.rand(len(pictures), self.patches, device=pictures.device).argsort(1)
            visible = order[:, : max(1, round(self.keep * self.patches))]
            return self.norm(self.pool(cast(VisibleFeatures, self.encoder).forward_visible(pictures, visible)))
        return self.norm(self.pool(cast(FaceEncoder, self.encoder).forward_features(pictures)))

    def forward(self, pictures: Tensor) -> Tensor:
        """``pictures (B, 3, S, S)`` to logits ``(B, classes)``."""
        return self.output(self.pooled(pictures))

    def start_at_probe(self, pooled: Tensor, labels: Tensor) -> None:
        """Give the last linear map the logistic regression of ``labels (N,)`` on :meth:`pooled` features ``(N, C)``.

        Training then refines features that the head can already read, instead of first spoiling them to suit a head
        that knows nothing (Kumar et al., 2202.10054).
        """
        mean, deviation = pooled.mean(0), pooled.std(0).clamp_min(1e-6)
        rows = (pooled - mean) / deviation
        weight = torch.zeros(len(self.classes), rows.shape[1], device=rows.device, requires_grad=True)
        bias = torch.zeros(len(self.classes), device=rows.device, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(nn.functional.linear(rows, weight, bias), labels)
            loss = loss + PROBE_PENALTY * weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            self.output.weight.copy_(weight / deviation)
            self.output.bias.copy_(bias - self.output.weight @ mean)

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
