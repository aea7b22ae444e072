"""``gptface evaluate face3d-studio``: two portraits of each person, at rest and smiling."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.face3d_arguments import add_system_arguments, wanted
from gptface.cli.paths import local_pattern

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "face3d-studio",
        help="FaceGPT on portrait pairs: same identity, other smile",
        description="Makes heads of two portraits of each person: how often identities of one person are nearer than "
        "those of two, and how often the smiling portrait has the stronger smile (both as areas under the curve).",
        epilog="example: gptface evaluate face3d-studio --system runs/photos --portraits studio/studio-shared.tar "
        "--portrait-landmarks studio/landmarks189_shared.npz --like 'faces/val-*.tar' "
        "--like-landmarks faces/landmarks468_val.npz --output studio.json --sheet studio.png",
    )
    add_system_arguments(parser, seed=None, sheet="draw some heads beside their portraits")
    add = parser.add_argument
    add(
        "--portraits",
        type=local_pattern,
        nargs="+",
        required=True,
        metavar="PATH",
        help="shards whose metadata have person and expression (neutral or happiness)",
    )
    add("--portrait-landmarks", type=local_pattern, metavar="NPZ", help="their points; 0 and 1 are the pupils")
    add("--like", type=local_pattern, nargs="+", default=[], metavar="PATH", help="cut the portraits like these photos")
    add("--like-landmarks", type=local_pattern, metavar="NPZ", help="the photos' points")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.systems.facegpt.evaluation.reports import report_studio
    from gptface.systems.facegpt.evaluation.studio import pair_lines

    summary = report_studio(
        wanted(arguments),
        portraits=arguments.portraits,
        portrait_landmarks=arguments.portrait_landmarks,
        like=arguments.like,
        like_landmarks=arguments.like_landmarks,
    )
    print("\n".join(pair_lines(summary["rows"])))
    return 0
