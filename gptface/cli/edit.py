"""``gptface edit``: change an attribute, an expression or a region of a face."""

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
        "edit",
        help="change an attribute, an expression or a region of a face",
        description="Change a part of a photo as wished. An attribute or expression chooses the part of the face that "
        "shows it; --region and --mask choose it by hand. Pixels outside it stay as they are.",
        epilog="example: gptface edit photo.png --attribute Blond_Hair --output blond.png "
        "--strip strip.png",
    )
    add_photo_options(parser)
    add_system_options(parser)
    wish = parser.add_argument_group("what")
    wish.add_argument("--attribute", metavar="NAME", help='one of CelebA\'s, such as Blond_Hair, or "no Eyeglasses"')
    wish.add_argument(
        "--expression", metavar="NAME", help="happiness, sadness, anger, surprise, fear, disgust, contempt, neutral"
    )
    wish.add_argument(
        "--caption", type=caption_text, metavar="TEXT", help="the wish in words, in place of the attribute's own"
    )
    wish.add_argument(
        "--region", type=_names, metavar="A,B", help="regions or zones that may change, such as hair,forehead"
    )
    wish.add_argument(
        "--mask", type=local_path, metavar="FILE", help="white where the photo may change, of the photo's size"
    )
    wish.add_argument(
        "--region-map",
        type=local_path,
        metavar="FILE",
        help="label image of the photo, in place of the system's parser",
    )
    wish.add_argument(
        "--template",
        default="portrait",
        help="portrait or tight: where features are in an aligned face, for systems without a parser",
    )
    add_decoding_options(parser)
    parser.set_defaults(func=run)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _check_names(arguments: argparse.Namespace) -> None:
    """Refuse names that are not in the vocabulary before anything is loaded."""
    from gptface.faces.areas import region_area
    from gptface.faces.attributes import attribute_area
    from gptface.faces.expressions import expression_area
    from gptface.faces.names import find
    from gptface.faces.templates import TEMPLATES

    find("template", arguments.template, TEMPLATES)
    if arguments.attribute is not None:
        attribute_area(arguments.attribute)
    if arguments.expression is not None:
        expression_area(arguments.expression)
    if arguments.region is not None:
        region_area(arguments.region)


def run(arguments: argparse.Namespace) -> int:
    check_outputs(arguments.output, arguments.strip)
    _check_names(arguments)
    photo, mask, region_map = read_inputs(arguments)
    if mask is None:
        from gptface.systems.gptface.generation.where import Where

        # That nothing says where is said before a system is read.
        Where(None, arguments.region, arguments.attribute, arguments.expression).areas(1)
    options = photo_options(arguments)
    result = load_generator(arguments, arguments.template).edit(
        photo,
        arguments.caption,
        masks=mask,
        regions=arguments.region,
        attributes=arguments.attribute,
        expressions=arguments.expression,
        region_maps=region_map,
        **options,
    )
    return write_edit(arguments, result)
