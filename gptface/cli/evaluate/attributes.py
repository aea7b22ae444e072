"""``gptface evaluate attributes``: facial attributes read off an encoder's frozen features."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.data_arguments import add_data_arguments, data_paths, encoders
from gptface.cli.evaluate.label_arguments import add_share_arguments, label_shares
from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "attributes",
        help="CelebA's forty attributes, read off an encoder's frozen features",
        description="Logistic regressions of all attributes on an encoder's frozen features (patches averaged), beside "
        "the same architecture with random weights and the commonest answer: mean accuracy over the attributes and "
        "mean average precision. Validation faces choose the layer and the penalty; what the test faces would have "
        "chosen is told beside it.",
        epilog="example: gptface evaluate attributes --encoder runs/pacofr/model/encoder --data CelebA "
        "--output attributes.json --table attributes.md --plot attributes.png",
    )
    add = parser.add_argument
    add(
        "--encoder", type=local_path, nargs="+", required=True, metavar="DIR", help="as for probe; several are compared"
    )
    add_data_arguments(parser, sets="CelebA, CelebAMask-HQ", otherwise="a tenth of those")
    add("--attributes", metavar="A,B", help="names of those to be told (default: all that the faces have)")
    add_share_arguments(parser, seeds="draws of the training faces in use and of those held out")
    add("--no-random", action="store_true", help="without the random weights")
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    add("--seed", type=int, default=0, help="of random weights, and the first of the draws (default 0)")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    add("--table", type=local_path, metavar="MD", help="also write Markdown tables, with what was measured on what")
    add("--plot", type=local_path, metavar="PNG", help="also draw the accuracy of each attribute")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.evaluation.attribute_probe import AttributeTest, measure_attributes
    from gptface.evaluation.attribute_report import attribute_lines

    summary = measure_attributes(
        AttributeTest(
            **data_paths(arguments),  # type: ignore[arg-type]
            attributes=None if arguments.attributes is None else arguments.attributes.split(","),
            **label_shares(arguments),
            device=arguments.device,
            seed=arguments.seed,
            output=arguments.output,
            table=arguments.table,
            plot=arguments.plot,
            facts=(("encoder", " ".join(map(str, arguments.encoder))),),
        ),
        encoders(arguments),
    )
    print("\n".join(attribute_lines(summary["rows"])))
    return 0
