"""``gptface evaluate``: what is measured, each a sub-command in a module of its own."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from gptface.errors import InputError

__all__ = ["SUBJECTS", "add_parser"]

# Each is a module of this package with `add_parser` and `run`, light to import: they are all imported for the help.
SUBJECTS = (
    *("system", "captions", "inpainting", "smiles"),
    *("probe", "finetune", "attributes", "landmarks", "parsing", "regions", "leak"),
    *("masked", "face3d_truth", "face3d_text", "face3d_emission", "face3d_photos", "face3d_studio"),
)

FILES = ("output", "table", "plot", "sheet")
WRITTEN = (*FILES, "save")
"""Options that name what a subject writes; ``save`` is a folder."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="measure what was trained, on held-out faces",
        description="Measure what was trained, on faces it has not seen.",
        epilog="example: gptface evaluate system --system runs/real/system --faces 'faces/val-*.tar'",
    )
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    for name in SUBJECTS:
        importlib.import_module(f"{__name__}.{name}").add_parser(subjects)
    for subject in subjects.choices.values():
        subject.set_defaults(func=_with_files_looked_after(subject.get_default("func")))


def _check_files(arguments: argparse.Namespace) -> None:
    """Before anything is measured, whether what it comes to can be written.

    Raises:
        InputError: two options name one file, or a place where no file can be.
    """
    seen: dict[Path, str] = {}
    for name in WRITTEN:
        path = getattr(arguments, name, None)
        if path is None:
            continue
        path = Path(path)
        if path.resolve() in seen:
            raise InputError(f"--{name}: {path} is also --{seen[path.resolve()]}; each needs a file of its own")
        seen[path.resolve()] = name
        if name in FILES and path.is_dir():
            raise InputError(f"--{name}: {path} is a folder; give a file")
        if blocked := next((one for one in path.absolute().parents if one.exists() and not one.is_dir()), None):
            raise InputError(f"--{name}: {path} cannot be written: {blocked} is no folder")
    for name in ("seed", "random_seed"):
        value = getattr(arguments, name, None)
        if isinstance(value, int) and value < 0:
            raise InputError(f"--{name.replace('_', '-')}: {value}; it must be 0 or more")


def _with_files_looked_after(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """``run`` between a look at the files that are asked for and a line on stderr for each of them."""

    def told(arguments: argparse.Namespace) -> int:
        _check_files(arguments)
        code = run(arguments)
        for name in WRITTEN:
            if getattr(arguments, name, None) is not None:
                print(f"written: {getattr(arguments, name)}", file=sys.stderr)
        return code

    return told
