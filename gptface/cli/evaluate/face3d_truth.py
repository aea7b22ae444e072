"""``gptface evaluate face3d-truth``: heads of drawn faces whose every parameter is known."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.face3d_arguments import (
    add_drawn_face_arguments,
    add_refine_argument,
    add_system_arguments,
    wanted,
)

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "face3d-truth",
        help="FaceGPT on drawn faces: millimetres, degrees, jaw and smile",
        description="Makes heads of held-out drawn faces whose every parameter is known: the mean distance of vertices "
        "in millimetres after rigid alignment, yaw and pitch in degrees, jaw and smile weights against the truth; "
        "beside the mean face, and a fit of 200 steps to the true landmarks.",
        epilog="example: gptface evaluate face3d-truth --system runs/truth runs/truth-without-language "
        "--backgrounds 'faces/val-*.tar' --output truth.json --sheet truth.png",
    )
    add_system_arguments(parser, seed="of the faces", sheet="draw some heads beside their pictures")
    add_drawn_face_arguments(parser)
    parser.add_argument("--count", type=int, default=512, help="how many faces (default 512)")
    parser.add_argument("--no-fitting", action="store_true", help="without the fit to landmarks")
    add_refine_argument(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.systems.facegpt.evaluation.known_truth import truth_lines
    from gptface.systems.facegpt.evaluation.reports import report_truth

    summary = report_truth(
        wanted(arguments),
        count=arguments.count,
        backgrounds=arguments.backgrounds,
        zoom=arguments.zoom,
        fitting=not arguments.no_fitting,
        refine=arguments.refine,
    )
    print("\n".join(truth_lines(summary["rows"])))
    return 0
