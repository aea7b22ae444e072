"""A trained system from its folder: the compact model, or an adapter beside somebody else's model."""

from __future__ import annotations

import os

import torch

from gptface.files import refuse_url
from gptface.systems.facegpt.face_system import FaceSystem
from gptface.systems.facegpt.system import FaceGPTSystem

__all__ = ["open_system"]


def open_system(
    folder: str | os.PathLike[str],
    morphable: str | os.PathLike[str] | None = None,
    *,
    device: torch.device | str = "cpu",
) -> FaceSystem:
    """Load what ``gptface train facegpt`` or :func:`gptface.systems.facegpt.adapter.save_adapter` left.

    Args:
        folder: of it.
        morphable: name or path of the morphable model, where it is no longer where it was in training.
        device: where the networks go.

    Raises:
        InputError: the folder or a part of it is missing or damaged, or the parts do not belong together.
    """
    refuse_url("folder", folder)
    from gptface.systems.facegpt.adapter import AdapterSystem, is_adapter

    if is_adapter(folder):
        return AdapterSystem.load(folder, morphable, device=device)
    return FaceGPTSystem.load(folder, morphable, device=device)
