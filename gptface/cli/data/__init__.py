"""``gptface data``: what is done to data before anything is trained, each a sub-command in a module of its own."""

from __future__ import annotations

import argparse
import importlib

__all__ = ["SUBJECTS", "add_parser"]

# Each is a module of this package with `add_parser`, light to import: they are all imported for the help.
SUBJECTS = ("laion_face", "encode")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "data",
        help="bring face pictures and captions from the web to shards, and shards to codes",
        description="Bring data to shards, and shards to the codes that pre-training reads.",
        epilog="example: gptface data laion-face join --help",
    )
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    for name in SUBJECTS:
        importlib.import_module(f"{__name__}.{name}").add_parser(subjects)
