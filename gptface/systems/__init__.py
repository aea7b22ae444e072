"""The face systems, side by side: each a folder with its configuration, model, objective, stages and evaluation."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from gptface.errors import InputError
from gptface.files import refuse_url

if TYPE_CHECKING:
    from gptface.evaluation.encoders import EncoderKind, FaceEncoder
    from gptface.training.declaration import StageDeclaration

__all__ = ["find_encoder_kinds", "find_stages", "open_encoder", "random_encoder"]


def _systems() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def find_stages() -> dict[str, StageDeclaration]:
    """Every stage that a system declares in its module ``stages``, by name, system after system."""
    found: dict[str, StageDeclaration] = {}
    for system in _systems():
        for stage in importlib.import_module(f"{__name__}.{system}.stages").STAGES:
            if stage.name in found:
                raise RuntimeError(f"two systems declare a stage named {stage.name}")
            found[stage.name] = stage
    return found


def find_encoder_kinds() -> list[EncoderKind]:
    """The kinds of encoder folder: what those systems that have an encoder declare in their module ``encoder``, then
    other people's vision models."""
    from gptface.evaluation.vision_models import KINDS

    modules = [f"{__name__}.{system}.encoder" for system in _systems()]
    own = [importlib.import_module(name).ENCODER for name in modules if importlib.util.find_spec(name) is not None]
    return [*own, *KINDS]


def _encoder_kind(folder: str | os.PathLike[str]) -> EncoderKind:
    refuse_url("encoder", folder)
    path = Path(folder)
    kinds = find_encoder_kinds()
    allowed = " or ".join(kind.summary for kind in kinds)
    if not path.is_dir():
        raise InputError(f"encoder: {path}: there is no such folder; allowed: {allowed}")
    for kind in kinds:
        if kind.recognises(path):
            return kind
    raise InputError(f"encoder: {path}: holds no encoder; allowed: {allowed}")


def open_encoder(folder: str | os.PathLike[str]) -> FaceEncoder:
    """The encoder in a folder: of what training left, of any system that has one, or of another people's vision model.

    A module in evaluation mode, on the CPU.

    Raises:
        InputError: the folder is missing, of no known kind, or damaged.
    """
    return _encoder_kind(folder).open(Path(folder))


def random_encoder(folder: str | os.PathLike[str], seed: int) -> FaceEncoder:
    """The architecture of :func:`open_encoder`'s encoder with fresh weights: what training started from.

    A GPTFace keeps its image tokenizer, so that both see the same tokens.

    Raises:
        InputError: as :func:`open_encoder`.
    """
    return _encoder_kind(folder).initialise(Path(folder), seed)
