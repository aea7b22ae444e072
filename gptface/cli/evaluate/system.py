"""``gptface evaluate system``: the numbers of a trained GPTFace on faces it has not seen."""

from __future__ import annotations

import argparse

from gptface.cli.paths import local_path, local_pattern
from gptface.cli.system import add_system_option, load_system

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "system",
        help="a trained GPTFace: reconstruction, masked modelling and matching",
        description="Reconstruction, masked modelling and matching of a trained GPTFace on held-out faces. Where faces "
        "have an expression in their metadata and captions say some, matching is also measured against captions that "
        "say another expression.",
        epilog="example: gptface evaluate system --system runs/real/system --faces 'faces/val-*.tar' --group person "
        "--output runs/real/evaluation.json",
    )
    add_system_option(parser)
    parser.add_argument(
        "--faces",
        type=local_pattern,
        nargs="+",
        metavar="PATH",
        help="shards, globs or directories; default: fresh procedural faces",
    )
    parser.add_argument("--count", type=int, default=512, help="how many held-out faces at most (default 512)")
    parser.add_argument("--seed", type=int, default=0, help="of the masks and the pairs (default 0)")
    parser.add_argument(
        "--faces-seed", type=int, help="seed of the procedural faces (default: one that no training uses)"
    )
    parser.add_argument(
        "--group", metavar="FIELD", help="metadata field of the person, whom intervals of matching draw anew"
    )
    parser.add_argument("--output", type=local_path, help="also write the numbers as JSON")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.evaluation.face_set import HELD_OUT_SEED
    from gptface.evaluation.numbers import format_numbers
    from gptface.systems.gptface.evaluation.evaluate import EvaluationRequest, evaluate

    request = EvaluationRequest(
        system=load_system(arguments.system),
        faces=arguments.faces,
        count=arguments.count,
        seed=arguments.seed,
        faces_seed=HELD_OUT_SEED if arguments.faces_seed is None else arguments.faces_seed,
        group=arguments.group,
        output=arguments.output,
    )
    print(format_numbers(evaluate(request)))
    return 0
