"""``gptface inpaint``: fill a masked part of a photo."""

from __future__ import annotations

import argparse
from pathlib import Path

from gptface.cli.generation_arguments import (
    add_decoding_options,
    add_photo_options,
    add_system_options,
    check_outputs,
    load_generator,
    photo_options,
    write_edit,
)

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "inpaint",
        help="fill a masked part of a photo",
        description="Fill the masked part of a photo from its surroundings and, where given, a caption. What is under "
        "the mask is not looked at; pixels outside it stay as they are.",
        epilog="example: gptface inpaint photo.png --mask hole.png --system runs/demo/system --output filled.png",
    )
    add_photo_options(parser)
    add_system_options(parser)
    parser.add_argument(
        "--mask", type=Path, required=True, metavar="FILE", help="white where to fill, of the photo's size"
    )
    parser.add_argument("--caption", default="", metavar="TEXT", help="what the photo should show")
    add_decoding_options(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    check_outputs(arguments.output, arguments.strip)
    options = photo_options(arguments)
    result = load_generator(arguments).inpaint(arguments.image, arguments.mask, arguments.caption, **options)
    return write_edit(arguments, result)
