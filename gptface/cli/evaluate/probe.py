"""``gptface evaluate probe``: how much of a label an encoder's frozen features hold."""

from __future__ import annotations

import argparse
from functools import partial

from gptface.cli.evaluate.label_arguments import add_label_arguments, label_task
from gptface.cli.paths import local_path
from gptface.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "probe",
        help="an encoder's frozen features, beside random weights, pixels and HOG",
        description="Fits probes for a label of the faces' metadata on frozen features and measures them on other "
        "people: linear and by attentive pooling, of an encoder and of the same architecture with random weights; "
        "linear on 32² grey pixels and on HOG, and on the shape of given landmarks. Prints a line each.",
        epilog="example: gptface evaluate probe --encoder runs/pacofr/model/encoder --train 'faces/train-*.tar' "
        "--test 'faces/val-*.tar' --label expression --classes neutral,happiness --group person "
        "--label-share 0.01,0.1,1 --seeds 3 --output probe.json",
    )
    add = parser.add_argument
    add(
        "--encoder",
        type=local_path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="what pre-training leaves, of any system; several are compared, each under its folder's name",
    )
    add_label_arguments(parser, seeds="draws of labels, held-out people and attentive weights")
    for name in ("train", "test"):
        add(
            f"--{name}-landmarks",
            type=local_path,
            metavar="FILE",
            help=f"an .npz file with landmarks of the faces to {name} on: adds a row for their shape alone",
        )
    add("--random-seed", type=int, default=0, help="of the random weights, shaped like the first encoder (default 0)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.evaluation.label_task import LabelTask
    from gptface.evaluation.measured_probe import ENCODER, measure_by_probe
    from gptface.evaluation.probe_comparison import probe_lines
    from gptface.systems import open_encoder, random_encoder

    folders, seed = arguments.encoder, arguments.random_seed
    if len(set(folders)) < len(folders):
        raise InputError("--encoder: a folder was given twice; each must be another one")
    marks = [None if file is None else str(file) for file in (arguments.train_landmarks, arguments.test_landmarks)]
    if (marks[0] is None) != (marks[1] is None):
        raise InputError("--train-landmarks and --test-landmarks: one of them was given; both or neither are needed")
    landmarks = None if marks[0] is None or marks[1] is None else (marks[0], marks[1])
    facts = (("encoder", " ".join(map(str, folders))), ("random_seed", seed))
    wish = LabelTask(**label_task(arguments), landmarks=landmarks, facts=facts)
    names = [ENCODER] if len(folders) == 1 else list(map(str, folders))
    encoders = {name: partial(open_encoder, folder) for name, folder in zip(names, folders, strict=True)}
    summary = measure_by_probe(wish, encoders, lambda: random_encoder(folders[0], seed))
    for line in probe_lines(summary["rows"]):
        print(line)
    return 0
