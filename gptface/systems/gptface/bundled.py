"""The small trained system inside the package, and the judge of its edits: for first steps, tests and demonstrations.

It knows procedural faces of 64² pixels and nothing else; ``bundled_system/README.md`` says how well. ``make bundled``
trains it again and writes it with this module::

    python -m gptface.systems.gptface.bundled runs/bundled/system --judge runs/bundled/judge/parser

Weights are stored in float16 and the SHA-256 of every file but the card stands in ``SHA256SUMS``, which loading checks.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch

from gptface.errors import InputError
from gptface.files import atomic_directory
from gptface.models import FaceParser
from gptface.systems.gptface.system import FaceSystem

__all__ = ["BUNDLED", "bundled_judge", "bundled_system", "check_bundled", "write_bundled"]

BUNDLED = Path(__file__).with_name("bundled_system")

JUDGE = "judge"
CARD = "README.md"
SUMS = "SHA256SUMS"


def check_bundled(folder: Path = BUNDLED) -> None:
    """Compare every file with its digest.

    Raises:
        InputError: the system was left out of this installation, or a file is missing or has changed.
    """
    if not (folder / SUMS).is_file():
        raise InputError(f"{folder}: the bundled system is not there; install the package again, or name your own")
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        if not (folder / name).is_file() or _digest(folder / name) != digest:
            raise InputError(f"{folder / name}: is not the file that was released; install the package again")


def bundled_system(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> FaceSystem:
    """The bundled system, ready for use.

    Args:
        device: where its networks go.
        dtype: they compute in.

    Raises:
        InputError: see :func:`check_bundled`.
    """
    check_bundled()
    return FaceSystem.from_pretrained(BUNDLED, device, dtype)


def bundled_judge() -> FaceParser:
    """The classifier that judges edits, trained apart from the system, in float32.

    Raises:
        InputError: see :func:`check_bundled`.
    """
    check_bundled()
    return FaceParser.from_pretrained(BUNDLED / JUDGE, dtype=torch.float32).eval()


def write_bundled(system: FaceSystem, judge: FaceParser, folder: Path = BUNDLED) -> int:
    """Convert ``system`` and ``judge`` to float16, in place, and write them with their digests.

    A model card that is there stays.

    Returns:
        Bytes of all files.
    """
    card = (folder / CARD).read_bytes() if (folder / CARD).is_file() else None
    with atomic_directory(folder) as temporary:
        system.half().save_pretrained(temporary)
        judge.half().save_pretrained(temporary / JUDGE)
        files = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
        lines = [f"{_digest(temporary / name)}  {name.as_posix()}\n" for name in files]
        (temporary / SUMS).write_text("".join(lines), encoding="utf-8")
        if card is not None:
            (temporary / CARD).write_bytes(card)
        return sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _main() -> None:
    parser = argparse.ArgumentParser(description="Write a trained system and its judge into the package.")
    parser.add_argument("system", type=Path, help="what `gptface train pretrain` left")
    parser.add_argument("--judge", type=Path, required=True, help="a parser trained from another seed")
    parser.add_argument("--output", type=Path, default=BUNDLED, help="folder (default: inside the package)")
    arguments = parser.parse_args()
    try:
        system = FaceSystem.from_pretrained(arguments.system)
        size = write_bundled(system, FaceParser.from_pretrained(arguments.judge), arguments.output)
    except (InputError, OSError) as error:
        parser.error(str(error))
    print(f"{arguments.output}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    _main()
