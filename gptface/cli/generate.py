"""``gptface generate``: captions to faces."""

from __future__ import annotations

import argparse

from gptface.cli.generation_arguments import (
    PICTURE_SUFFIXES,
    add_decoding_options,
    add_system_options,
    caption_text,
    check_outputs,
    decoding_settings,
    load_generator,
)
from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "generate",
        help="caption to face",
        description="Make faces for a caption by guided masked decoding, or token by token.",
        epilog='example: gptface generate --caption "a smiling woman with blond hair" '
        "--count 4 --output faces.png",
    )
    add_system_options(parser)
    parser.add_argument("--caption", type=caption_text, default="", help="what to show; without one, any face")
    parser.add_argument("--count", type=int, default=1, help="how many, with seeds --seed, --seed + 1, … (default 1)")
    parser.add_argument(
        "--output",
        type=local_path,
        required=True,
        metavar="PATH",
        help="a picture (several faces lie side by side in it), or a folder for seed-N.png",
    )
    parser.add_argument(
        "--history", type=local_path, metavar="FILE", help="also write the first face's way from noise to picture"
    )
    parser.add_argument(
        "--method", choices=("masked", "autoregressive"), default="masked", help="of decoding (default masked)"
    )
    add_decoding_options(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from gptface.data.images import save_image
    from gptface.errors import InputError
    from gptface.systems.gptface.generation import AutoregressiveSettings

    if arguments.count < 1:
        raise InputError(f"--count must be at least 1, got {arguments.count}")
    if arguments.history is not None and arguments.method != "masked":
        raise InputError("--history shows masked decoding; it cannot be had with --method autoregressive")
    into_folder = arguments.output.suffix.lower() not in PICTURE_SUFFIXES
    if into_folder and arguments.output.is_file():
        raise InputError(f"{arguments.output}: is a file; give a folder or a name ending in {PICTURE_SUFFIXES[0]}")
    check_outputs(None if into_folder else arguments.output, arguments.history)
    settings = decoding_settings(arguments)
    generator = load_generator(arguments)
    result = generator.generate(
        [arguments.caption] * arguments.count,
        arguments.seed,
        settings=settings,
        method=arguments.method,
        autoregressive=AutoregressiveSettings(arguments.temperature, arguments.top_k or 70, arguments.guidance_scale),
        negative_captions=arguments.negative_caption,
        best_of=1 if arguments.best_of is None else arguments.best_of,
        keep_history=arguments.history is not None,
    )
    if into_folder:
        for seed, picture in zip(result.seeds, result.images, strict=True):
            save_image(arguments.output / f"seed-{seed}.png", picture)
    else:
        save_image(arguments.output, np.concatenate(list(result.images), axis=1))
    if result.history is not None:
        steps = generator.render_history(result.history[:, :1])[:, 0]
        save_image(arguments.history, np.concatenate(list(steps), axis=1))
    scores = ", ".join(f"{score:+.2f}" for score in result.match)
    print(f"{arguments.output}: seeds {result.seeds[0]} to {result.seeds[-1]}, match {scores}")
    return 0
