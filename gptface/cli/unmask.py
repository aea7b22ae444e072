"""``gptface unmask``: remove what covers a face."""

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
        "unmask",
        help="remove what covers a face",
        description="Remove a medical mask, sunglasses or a hand, and show what the face behind could be: a guess, not "
        "the person's own face. The system's parser finds the occluder unless --mask or --region-map says where it is.",
        epilog="example: gptface unmask photo.png --output uncovered.png --strip strip.png",
    )
    add_photo_options(parser)
    add_system_options(parser)
    parser.add_argument(
        "--mask", type=local_path, metavar="FILE", help="white where the occluder is, of the photo's size"
    )
    parser.add_argument("--region-map", type=local_path, metavar="FILE", help="label image of the photo")
    parser.add_argument(
        "--caption", type=caption_text, default="", metavar="TEXT", help="what the uncovered face should look like"
    )
    add_decoding_options(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    check_outputs(arguments.output, arguments.strip)
    photo, mask, region_map = read_inputs(arguments)
    options = photo_options(arguments)
    result = load_generator(arguments).unmask(photo, mask, arguments.caption, region_maps=region_map, **options)
    return write_edit(arguments, result)
