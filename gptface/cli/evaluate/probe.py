"""``gptface evaluate probe``: how much of a label an encoder's frozen features hold."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.label_arguments import add_label_arguments, label_task
from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "probe",
        help="an encoder's frozen features, beside random weights, pixels and HOG",
        description="Fits probes for a label of the faces' metadata on frozen features and measures them on other "
        "people: linear and by attentive pooling, of an encoder and of the same architecture with random weights; "
        "linear on 32² grey pixels and on HOG. Prints a line each.",
        epilog="example: gptface evaluate probe --encoder runs/pacofr/model/encoder --train 'faces/train-*.tar' "
        "--test 'faces/val-*.tar' --label expression --classes neutral,happiness --group person "
        "--label-share 0.01,0.1,1 --seeds 3 --output probe.json",
    )
    add = parser.add_argument
    add("--encoder", type=local_path, required=True, metavar="DIR", help="what pre-training leaves, of any system")
    add_label_arguments(parser, seeds="draws of labels, held-out people and attentive weights")
    add("--random-seed", type=int, default=0, help="of the random weights (default 0)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.evaluation.label_task import LabelTask
    from gptface.evaluation.measured_probe import measure_by_probe
    from gptface.evaluation.probe_comparison import probe_lines
    from gptface.systems import open_encoder, random_encoder

    folder, seed = arguments.encoder, arguments.random_seed
    facts = (("encoder", str(folder)), ("random_seed", seed))
    wish = LabelTask(**label_task(arguments), facts=facts)
    summary = measure_by_probe(wish, lambda: open_encoder(folder), lambda: random_encoder(folder, seed))
    for line in probe_lines(summary["rows"]):
        print(line)
    return 0
