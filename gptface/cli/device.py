"""``--device``: where a trained system runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gptface.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["add_device_option", "usable_device"]


def add_device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, … (default cpu)")


def usable_device(name: str) -> torch.device:
    """The device that ``--device`` names.

    Raises:
        InputError: torch knows no such device, or cannot use it here.
    """
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device: {name!r} cannot be used here ({reason})") from error
    return device
