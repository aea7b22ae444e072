"""``gptface evaluate probe``: how much of a label an encoder's frozen features hold."""

from __future__ import annotations

import argparse

from gptface.cli.paths import local_path, local_pattern

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "probe",
        help="an encoder's frozen features, beside random weights, pixels and HOG",
        description="Fits probes for a label of the faces' metadata on frozen features and measures them on other "
        "people: linear and by attentive pooling, of an encoder and of the same architecture with random weights; "
        "linear on 32² grey pixels and on HOG. Prints a line each.",
        epilog="example: gptface evaluate probe --encoder runs/pacofr/encoder --train 'faces/train-*.tar' "
        "--test 'faces/val-*.tar' --label expression --classes neutral,happiness --group person "
        "--label-share 0.01,0.1,1 --seeds 3 --output probe.json",
    )
    add = parser.add_argument
    add("--encoder", type=local_path, required=True, metavar="DIR", help="what pre-training leaves, of any system")
    for name in ("train", "test"):
        add(f"--{name}", type=local_pattern, nargs="+", required=True, metavar="PATH", help=f"shards to {name} on")
    add("--label", required=True, metavar="FIELD", help="metadata field to probe for, such as expression")
    add("--classes", required=True, metavar="A,B", help="its values to tell apart; other faces are left out")
    add("--group", metavar="FIELD", help="metadata field of the person: nobody is on both sides of a split")
    add("--label-share", default="1", metavar="SHARES", help="shares of the training labels, such as 0.01,0.1,1")
    add("--seeds", type=int, default=1, help="draws of labels, held-out people and attentive weights (default 1)")
    add("--random-seed", type=int, default=0, help="of the random weights (default 0)")
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.errors import InputError
    from gptface.evaluation.probe_comparison import probe_lines
    from gptface.evaluation.probing import Probing, measure_by_probe
    from gptface.systems import open_encoder, random_encoder

    try:
        shares = [float(text) for text in arguments.label_share.split(",")]
    except ValueError:
        raise InputError(f"--label-share: got {arguments.label_share}; allowed are numbers, by commas apart") from None
    folder = arguments.encoder
    wish = Probing(
        train=arguments.train,
        test=arguments.test,
        label=arguments.label,
        classes=arguments.classes.split(","),
        group=arguments.group,
        shares=shares,
        seeds=arguments.seeds,
        device=arguments.device,
        output=arguments.output,
        facts=(("encoder", str(folder)), ("random_seed", arguments.random_seed)),
    )
    seed = arguments.random_seed
    summary = measure_by_probe(wish, lambda: open_encoder(folder), lambda: random_encoder(folder, seed))
    for line in probe_lines(summary["rows"]):
        print(line)
    return 0
