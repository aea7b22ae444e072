"""What evaluation asks of an image encoder, whichever system it comes from, and how a system says that it has one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gptface.models.loading import StrictPreTrainedModel

__all__ = ["EncoderKind", "FaceEncoder", "NamedFeatures", "VisibleFeatures", "named_features", "saved_model_kind"]

LAST_LAYER = "last layer"


class FaceEncoder(Protocol):
    """A module that turns faces into features of their patches.

    Attributes:
        image_size: side in pixels of the pictures it takes.
        grid: rows and columns of its patches.
        width: of a patch's features, ``C``.
    """

    image_size: int
    grid: tuple[int, int]
    width: int

    def forward_features(self, images: Tensor) -> Tensor:
        """``images`` float (B, 3, S, S) in [−1, 1] to features of the patches, (B, N, C) row by row."""
        ...


@runtime_checkable
class NamedFeatures(Protocol):
    """A :class:`FaceEncoder` that also offers other features than those of its last layer. A probe chooses."""

    def forward_named_features(self, images: Tensor) -> Mapping[str, Tensor]:
        """As ``forward_features``, under ``"last layer"``; under other names of its choice, patches (B, N, C') of the
        same grid or summaries of the picture (B, D)."""
        ...


@runtime_checkable
class VisibleFeatures(Protocol):
    """A :class:`FaceEncoder` that can look at some of a picture's patches, at the cost of those alone."""

    def forward_visible(self, images: Tensor, visible: Tensor) -> Tensor:
        """``images`` as for ``forward_features``, ``visible`` int64 (B, n) patches to their features (B, n, C)."""
        ...


def named_features(encoder: FaceEncoder, images: Tensor) -> Mapping[str, Tensor]:
    """Every feature that ``encoder`` offers, by name; at least ``"last layer"``."""
    if isinstance(encoder, NamedFeatures):
        return encoder.forward_named_features(images)
    return {LAST_LAYER: encoder.forward_features(images)}


@dataclass(frozen=True)
class EncoderKind:
    """One kind of folder that holds an encoder. A system declares it as ``ENCODER`` in its module ``encoder``.

    Attributes:
        summary: the kind in a few words, for the sentence that lists what is allowed.
        recognises: whether a folder is of this kind; looks at names and ``config.json`` only.
        open: the encoder of a folder, in evaluation mode.
        initialise: the same configuration with fresh weights drawn from a seed, in evaluation mode.
    """

    summary: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path], FaceEncoder]
    initialise: Callable[[Path, int], FaceEncoder]


def saved_model_kind(model_class: type[StrictPreTrainedModel], summary: str) -> EncoderKind:
    """The kind of folder that ``save_pretrained`` of ``model_class`` writes; the class satisfies :class:`FaceEncoder`.

    A system's module ``encoder`` then is one line: ``ENCODER = saved_model_kind(ItsEncoder, "an encoder of …")``.
    """
    configuration_class = model_class.config_class
    assert configuration_class is not None, model_class

    def initialise(folder: Path, seed: int) -> FaceEncoder:
        configuration = configuration_class.from_pretrained(folder, local_files_only=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return model_class(configuration).eval()

    return EncoderKind(
        summary,
        lambda folder: _model_type(folder) == configuration_class.model_type,
        lambda folder: model_class.from_pretrained(folder).eval(),
        initialise,
    )


def _model_type(folder: Path) -> str | None:
    """``model_type`` of a folder's ``config.json``; ``None`` where there is none or it cannot be read."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found.get("model_type") if isinstance(found, dict) else None
