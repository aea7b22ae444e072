"""``gptface caption``: faces to captions."""

from __future__ import annotations

import argparse

from gptface import decoding_defaults as usual
from gptface.cli.generation_arguments import add_system_options, load_generator
from gptface.cli.paths import local_path
from gptface.cli.photos import read_photos

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "caption",
        help="face to caption",
        description="Describe faces. Of several candidates the matching head chooses the best.",
        epilog="example: gptface caption photo.png --candidates 4",
    )
    parser.add_argument("images", type=local_path, nargs="+", metavar="image", help="photos of any size")
    add_system_options(parser)
    parser.add_argument(
        "--method",
        choices=("autoregressive", "masked"),
        default="autoregressive",
        help="word by word, or all words at once, refined (default autoregressive)",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=usual.CAPTION_CANDIDATES,
        help="captions drawn a photo (default %(default)s)",
    )
    parser.add_argument("--max-length", type=int, default=None, help="most word pieces (default: the model's)")
    parser.add_argument(
        "--temperature",
        type=float,
        default=usual.CAPTION_TEMPERATURE,
        help="of the draw, 0 = likeliest (default %(default)g)",
    )
    parser.add_argument(
        "--steps", type=int, default=usual.STEPS, help="passes of the masked method (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=usual.SEED, help="same seed, same caption (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a photo, with all candidates")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    import json

    from gptface.systems.gptface.generation import AutoregressiveSettings, DecodingSettings

    autoregressive = AutoregressiveSettings(arguments.temperature)
    masked = DecodingSettings(steps=arguments.steps, temperature=arguments.temperature)
    photos = read_photos(arguments.images)
    result = load_generator(arguments).caption(
        photos,
        method=arguments.method,
        candidates=arguments.candidates,
        max_length=arguments.max_length,
        seeds=arguments.seed,
        autoregressive=autoregressive,
        settings=masked,
    )
    for path, caption, match, candidates in zip(
        arguments.images, result.captions, result.match, result.candidates, strict=True
    ):
        if arguments.json:
            print(json.dumps({"image": str(path), "caption": caption, "match": float(match), "candidates": candidates}))
        else:
            print(caption if len(arguments.images) == 1 else f"{path}: {caption}")
    return 0
