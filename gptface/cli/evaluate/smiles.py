"""``gptface evaluate smiles``: portraits at rest made to smile, beside the same people's own smiles."""

from __future__ import annotations

import argparse

from gptface.cli.generation_arguments import add_decoding_options, caption_text, decoding_settings
from gptface.cli.paths import local_path, local_pattern
from gptface.cli.system import add_system_option, load_system

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "smiles",
        help="a trained GPTFace: portraits at rest made to smile, beside the own smile of each person",
        description="Has a trained GPTFace make portraits at rest smile, and compares the landmarks with those of the "
        "same person's smiling portrait: how far the points that a smile moves are from there, how much of the way "
        "they went, and whether the others stay. Beside it stand the portrait at rest, the mean smile of the other "
        "people, and the same edit with the wish for a face at rest.",
        epilog="example: gptface evaluate smiles --system runs/real/system --portraits studio/studio-shared.tar "
        "--landmark-model runs/landmarks --grey --caption 'a smiling face' --control 'a neutral face' "
        "--output smiles.json --sheet smiles.png",
    )
    add = parser.add_argument
    add_system_option(parser)
    add(
        "--portraits",
        type=local_pattern,
        nargs="+",
        required=True,
        metavar="PATH",
        help="shards, globs or directories; each picture's json has person, and expression neutral or happiness",
    )
    add(
        "--landmark-model", type=local_path, required=True, metavar="DIR", help="what `evaluate landmarks --save` left"
    )
    add(
        "--portrait-landmarks",
        type=local_pattern,
        metavar="NPZ",
        help="points of the portraits, of which 0 and 1 are the pupils: portraits are then cut so that their eyes lie "
        "where those of --like do; without it the centred square is taken",
    )
    add("--like", type=local_pattern, nargs="+", default=[], metavar="PATH", help="photos as the system knows faces")
    add("--like-landmarks", type=local_pattern, metavar="NPZ", help="their points")
    add("--caption", type=caption_text, help="the wish (default: a smile, in the package's own words)")
    add("--control", type=caption_text, help="the wish for a face at rest (default: in the package's own words)")
    add("--grey", action="store_true", help="make the portraits grey, for a system that was trained on grey photos")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    add("--table", type=local_path, metavar="MD", help="also write a Markdown table")
    add("--sheet", type=local_path, metavar="PNG", help="draw eight people: at rest, their smile, and the results")
    add_decoding_options(parser, choosing=False)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.evaluation.landmark_model import load_landmark_model
    from gptface.systems import open_encoder
    from gptface.systems.gptface.evaluation.smiles import SmileTest, measure_smiles, smile_lines

    test = SmileTest(
        portraits=arguments.portraits,
        portrait_landmarks=arguments.portrait_landmarks,
        like=arguments.like,
        like_landmarks=arguments.like_landmarks,
        caption=arguments.caption,
        control=arguments.control,
        grey=arguments.grey,
        settings=decoding_settings(arguments),
        seed=arguments.seed,
        output=arguments.output,
        table=arguments.table,
        sheet=arguments.sheet,
        facts=(("system", str(arguments.system)), ("landmark_model", str(arguments.landmark_model))),
    )
    folder = arguments.landmark_model
    regressor = load_landmark_model(folder, open_encoder(folder / "encoder"))
    print("\n".join(smile_lines(measure_smiles(test, load_system(arguments.system), regressor))))
    return 0
