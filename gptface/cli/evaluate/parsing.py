"""``gptface evaluate parsing``: the parts of a face read off an encoder's frozen patches."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.data_arguments import add_data_arguments, data_paths, encoders
from gptface.cli.evaluate.label_arguments import add_share_arguments, label_shares
from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "parsing",
        help="the parts of a face, read off an encoder's frozen patches",
        description="One linear map of an encoder's frozen patches, its scores interpolated between them, to the parts "
        "of a face: F1 of each class over all pixels and their mean without the background, beside the same "
        "architecture with random weights and the mean layout. Validation faces choose the epoch; the one that was "
        "best on the test faces is told beside it.",
        epilog="example: gptface evaluate parsing --encoder runs/pacofr/model/encoder --data LaPa --epochs 3 "
        "--output parsing.json --table parsing.md --plot parsing.png",
    )
    add = parser.add_argument
    add("--encoder", type=local_path, nargs="+", required=True, metavar="DIR", help="as for probe; or several of them")
    add_data_arguments(parser, sets="LaPa, CelebAMask-HQ", otherwise="the last epoch is taken")
    add("--epochs", type=int, default=3, help="passes over the training faces (default 3)")
    add_share_arguments(parser, seeds="draws of the training faces in use and of their order")
    add("--no-random", action="store_true", help="without the random weights")
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    add("--seed", type=int, default=0, help="of random weights, and the first of the draws (default 0)")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    add("--table", type=local_path, metavar="MD", help="also write a Markdown table, with what was measured on what")
    add("--plot", type=local_path, metavar="PNG", help="also draw the F1 of each class")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.evaluation.parsing_probe import ParsingTest, measure_parsing, parsing_lines

    names = ("epochs", "device", "seed", "output", "table", "plot")
    wish = ParsingTest(
        **data_paths(arguments),  # type: ignore[arg-type]
        **label_shares(arguments),
        **{name: getattr(arguments, name) for name in names},
        facts=(("encoder", " ".join(map(str, arguments.encoder))),),
    )
    print("\n".join(parsing_lines(measure_parsing(wish, encoders(arguments))["rows"])))
    return 0
