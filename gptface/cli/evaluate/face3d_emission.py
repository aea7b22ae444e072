"""``gptface evaluate face3d-emission``: when FaceGPT says ``<FACE>``, and what faces cost in general conversation."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.face3d_arguments import add_drawn_face_arguments, add_system_arguments, wanted
from gptface.cli.paths import local_path, local_pattern

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "face3d-emission",
        help="FaceGPT's <FACE>: emitted where asked for and nowhere else",
        description="Counts free answers that hold <FACE>, of held-out questions that ask for a face and of others: "
        "about drawn faces, sentences, general questions and photos. With --without-faces, also compares the loss of "
        "general questions with that of a system trained without faces.",
        epilog="example: gptface evaluate face3d-emission --system runs/faces --instructions others.json "
        "--trained-instructions general.json --without-faces runs/general --output emission.json",
    )
    add_system_arguments(parser, seed="of faces and sentences", sheet=None)
    add_drawn_face_arguments(parser)
    add = parser.add_argument
    add("--count", type=int, default=500, help="how many questions of each source (default 500)")
    add("--instructions", type=local_path, nargs="+", default=[], metavar="JSON", help="general questions")
    add(
        "--trained-instructions",
        type=local_path,
        nargs="+",
        default=[],
        metavar="JSON",
        help="those that were trained on: what is asked there is left out of the others",
    )
    add("--photos", type=local_pattern, nargs="+", default=[], metavar="PATH", help="shards of captioned photos")
    add(
        "--without-faces",
        type=local_path,
        metavar="DIR",
        help="a system trained on general questions alone, with the same tokenizer",
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.systems.facegpt.evaluation.emission import emission_lines, general_lines
    from gptface.systems.facegpt.evaluation.reports import report_emission

    summary = report_emission(
        wanted(arguments),
        count=arguments.count,
        instructions=arguments.instructions,
        trained=arguments.trained_instructions,
        photos=arguments.photos,
        without_faces=arguments.without_faces,
        backgrounds=arguments.backgrounds,
        zoom=arguments.zoom,
    )
    print("\n".join([*emission_lines(summary["rows"]), *general_lines(summary.get("general", []))]))
    return 0
