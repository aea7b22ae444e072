"""``gptface evaluate leak``: how much the tokens of PaCo-FR models give away of the patches they stand for."""

from __future__ import annotations

import argparse

from gptface.cli.paths import local_path, local_pattern

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "leak",
        help="what the tokens of PaCo-FR models give away of their patches",
        description="Measures, for one PaCo-FR model or many, how well a masked patch comes back from its own token "
        "alone, by a linear map and by a small network, beside codes drawn at random; and the model's error of the "
        "masked pixels, the use of its codes and the entropy of its beliefs. Prints a row a model.",
        epilog="example: gptface evaluate leak --model runs/k1/model runs/k4/model --train 'faces/train-*.tar' "
        "--faces 'faces/val-*.tar' --output leak.json",
    )
    add = parser.add_argument
    add("--model", type=local_path, nargs="+", required=True, metavar="DIR", help="what `gptface train pacofr` leaves")
    add("--faces", type=local_pattern, nargs="+", required=True, metavar="PATH", help="held-out shards to measure on")
    add(
        "--train",
        type=local_pattern,
        nargs="+",
        metavar="PATH",
        help="shards to fit the maps on (default: the first half of the faces, and the second is measured on)",
    )
    add("--count", type=int, default=1000, help="how many faces of each at most (default 1000)")
    add("--ratio", type=float, default=0.75, help="share of the patches that is masked, at random (default 0.75)")
    add("--seed", type=int, default=0, help="of masks, random codes and the network (default 0)")
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.systems.pacofr.evaluation.leak import LeakRequest, leak_table, measure_leak

    request = LeakRequest(
        models=arguments.model,
        faces=arguments.faces,
        train=arguments.train,
        count=arguments.count,
        ratio=arguments.ratio,
        seed=arguments.seed,
        device=arguments.device,
        output=arguments.output,
    )
    print("\n".join(leak_table(measure_leak(request)["rows"])))
    return 0
