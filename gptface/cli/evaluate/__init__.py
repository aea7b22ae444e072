"""``gptface evaluate``: what is measured, each a sub-command in a module of its own."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable

__all__ = ["SUBJECTS", "add_parser"]

# Each is a module of this package with `add_parser` and `run`, light to import: they are all imported for the help.
SUBJECTS = (
    *("system", "probe", "finetune", "attributes", "landmarks", "parsing", "regions", "leak"),
    *("masked", "face3d_truth", "face3d_text", "face3d_emission", "face3d_photos", "face3d_studio"),
)

WRITTEN = ("output", "sheet", "save")
"""Options that name what a subject writes."""


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
        subject.set_defaults(func=_telling_what_it_wrote(subject.get_default("func")))


def _telling_what_it_wrote(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """``run``, and then a line on stderr for each file that was asked for."""

    def told(arguments: argparse.Namespace) -> int:
        code = run(arguments)
        for name in WRITTEN:
            if getattr(arguments, name, None) is not None:
                print(f"written: {getattr(arguments, name)}", file=sys.stderr)
        return code

    return told
