"""The device on which something is measured."""

from __future__ import annotations

import torch

from gptface.errors import InputError

__all__ = ["pick_device"]


def pick_device(name: str) -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu`` or ``cuda`` as a device.

    Raises:
        InputError: another name, or a GPU that is not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: got {name}; allowed are auto, cpu and cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: cuda was asked for, and there is no GPU that torch can use")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
