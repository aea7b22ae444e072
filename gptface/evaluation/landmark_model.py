"""A regression of landmarks kept in a folder: ``encoder/`` as its system keeps encoders, and the maps upon it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from gptface.errors import InputError
from gptface.evaluation.classifier import check_savable
from gptface.evaluation.encoders import FaceEncoder
from gptface.evaluation.landmark_regression import PatchRegressor
from gptface.files import atomic_directory

__all__ = ["load_landmark_model", "save_landmark_model"]

_MAPS, _DESCRIPTION = "maps.safetensors", "landmarks.json"


def save_landmark_model(regressor: PatchRegressor, folder: str | os.PathLike[str], **facts: Any) -> None:
    """Write a regressor in one step: ``encoder/``, ``maps.safetensors``, and ``landmarks.json`` with ``facts``.

    Raises:
        InputError: the encoder cannot be saved on its own.
    """
    check_savable(regressor.encoder)
    maps = {
        name: value.detach().cpu().contiguous()
        for name, value in regressor.state_dict().items()
        if not name.startswith("encoder.")
    }
    described = {"points": regressor.output.out_features // 2, "image_size": regressor.size, **facts}
    with atomic_directory(folder) as temporary:
        regressor.encoder.save_pretrained(temporary / "encoder")  # type: ignore[operator]
        save_file(maps, temporary / _MAPS)
        (temporary / _DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def load_landmark_model(folder: str | os.PathLike[str], encoder: FaceEncoder) -> PatchRegressor:
    """The regressor that :func:`save_landmark_model` wrote, in evaluation mode.

    Args:
        folder: where it lies.
        encoder: opened from its ``encoder/``.

    Raises:
        InputError: the folder holds no regressor, or one for another encoder.
    """
    folder = Path(folder)
    try:
        described = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        regressor = PatchRegressor(encoder, int(described["points"]))
        maps = load_file(folder / _MAPS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"landmark model: {folder} holds none that can be read ({error})") from error
    own = {name: value.shape for name, value in regressor.state_dict().items() if not name.startswith("encoder.")}
    if {name: value.shape for name, value in maps.items()} != own:
        raise InputError(f"landmark model: the maps in {folder} do not fit that {type(encoder).__name__}")
    regressor.load_state_dict(maps, strict=False)
    return regressor.eval()
