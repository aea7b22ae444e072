"""``gptface evaluate face3d-text``: heads made from sentences alone."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.face3d_arguments import add_system_arguments, wanted
from gptface.cli.paths import local_pattern

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "face3d-text",
        help="FaceGPT on sentences: the shapes asked for, and none against them",
        description="Asks for faces in held-out sentences, and looks whether the shapes asked for are among the three "
        "strongest that come, and none that goes against them; answers left to the model and with <FACE> forced. "
        "Beside it: frozen text encoders with the face head, trained here on sentences that are not held out.",
        epilog="example: gptface evaluate face3d-text --system runs/faces --text-encoder random own runs/general "
        "--output text.json --sheet text.png",
    )
    add_system_arguments(parser, seed="of the sentences", sheet="draw some sentences' heads")
    add = parser.add_argument
    add("--count", type=int, default=1000, help="how many sentences (default 1000)")
    add(
        "--text-encoder",
        type=local_pattern,
        nargs="*",
        default=["random", "own"],
        metavar="NAME|DIR",
        help="baselines: random (the first system's shape with fresh weights), own (its states), another system, or "
        "the folder of any text model of transformers (default: random own)",
    )
    add("--baseline-sentences", type=int, default=20_000, help="that a baseline is trained on (default 20000)")
    add("--baseline-steps", type=int, default=4_000, help="of 256 sentences that it is trained (default 4000)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.systems.facegpt.evaluation.reports import report_text
    from gptface.systems.facegpt.evaluation.text_alone import sentence_lines

    summary = report_text(
        wanted(arguments),
        count=arguments.count,
        encoders=arguments.text_encoder,
        sentences=arguments.baseline_sentences,
        steps=arguments.baseline_steps,
    )
    print("\n".join(sentence_lines(summary["rows"])))
    return 0
