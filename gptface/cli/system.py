"""``--system``: a trained GPTFace, or the one inside the package where none is named."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gptface.cli.paths import local_path

if TYPE_CHECKING:
    import torch

    from gptface.systems.gptface import FaceSystem

__all__ = ["add_system_option", "load_system"]


def add_system_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--system",
        type=local_path,
        metavar="DIR",
        help="what `gptface train pretrain` leaves (default: the small system inside the package)",
    )


def load_system(folder: Path | None, device: torch.device | str = "cpu") -> FaceSystem:
    """The system in ``folder``, in float32; without one the system inside the package, which a line on stderr says."""
    import torch

    from gptface.systems.gptface import FaceSystem
    from gptface.systems.gptface.bundled import bundled_system

    if folder is not None:
        return FaceSystem.from_pretrained(folder, device, torch.float32)
    system = bundled_system(device)
    print(
        "gptface: note: no --system is given; the one inside the package is used, which knows drawn faces of "
        f"{system.tokenizer.config.image_size}² pixels and no photos",
        file=sys.stderr,
    )
    return system
