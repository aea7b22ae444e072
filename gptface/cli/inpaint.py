"""``gptface inpaint``: fill a masked part of a photo."""

from __future__ import annotations

import argparse

from gptface.cli.generation_arguments import (
    add_decoding_options,
    add_photo_options,
    add_system_options,
    caption_text,
    check_outputs,
    load_generator,
    photo_options,
    read_inputs,
    write_edit,
)
from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "inpaint",
        help="fill a masked part of a photo",
        description="Fill the masked part of a photo from its surroundings and, where given, a caption. What is under "
        "the mask is not looked at; pixels outside it stay as they are.",
        epilog="example: gptface inpaint photo.png --mask hole.png --output filled.png",
    )
    add_photo_options(parser)
    add_system_options(parser)
    parser.add_argument(
        "--mask", type=local_path, required=True, metavar="FILE", help="white where to fill, of the photo's size"
    )
    parser.add_argument("--caption", type=caption_text, default="", metavar="TEXT", help="what the photo should show")
    add_decoding_options(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    check_outputs(arguments.output, arguments.strip)
    photo, mask, _ = read_inputs(arguments)
    options = photo_options(arguments)
    result = load_generator(arguments).inpaint(photo, mask, arguments.caption, **options)
    return write_edit(arguments, result)
