"""``gptface evaluate face3d-photos``: heads of photos of people who were not trained on."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.face3d_arguments import add_refine_argument, add_system_arguments, wanted
from gptface.cli.paths import local_pattern
from gptface.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "face3d-photos",
        help="FaceGPT on photos: colours, landmarks, consistency, expressions",
        description="Makes heads of photos: how far their colours and 68 landmarks are from the photo's, how near a "
        "head comes back when it is drawn and reconstructed again, and how well expression weights tell labels apart; "
        "beside the mean face and a fit to the landmarks.",
        epilog="example: gptface evaluate face3d-photos --system runs/photos --train 'faces/train-*.tar' "
        "--train-landmarks faces/landmarks468_train.npz --test 'faces/val-*.tar' "
        "--test-landmarks faces/landmarks468_val.npz --group person --label expression --classes neutral,happiness "
        "--output photos.json --sheet photos.png",
    )
    add_system_arguments(parser, seed=None, sheet="draw some heads beside their photos")
    add = parser.add_argument
    for name in ("train", "test"):
        used = "that the mean face and the probe are learned from" if name == "train" else "to measure on"
        add(f"--{name}", type=local_pattern, nargs="+", required=True, metavar="PATH", help=f"shards {used}")
        add(
            f"--{name}-landmarks",
            type=local_pattern,
            required=True,
            metavar="NPZ",
            help="their points: key (N,), points (N, 68 or 468, 2 or 3) in pixels of the stored pictures",
        )
    add("--group", metavar="FIELD", help="metadata field of the person: nobody is on both sides")
    add("--label", metavar="FIELD", help="metadata field that a probe on expression weights is to tell apart")
    add("--classes", metavar="A,B", help="its values to tell apart")
    add("--count", type=int, help="test photos at most, spread over all (default: all)")
    add("--probe-count", type=int, help="training photos of the probe at most (default: all)")
    add_refine_argument(parser)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    if (arguments.label is None) != (arguments.classes is None):
        raise InputError("--label and --classes: give both for the probe, or neither")
    from gptface.systems.facegpt.evaluation.photos import consistency_lines, photo_lines, probe_lines
    from gptface.systems.facegpt.evaluation.reports import report_photos

    summary = report_photos(
        wanted(arguments),
        train=arguments.train,
        train_landmarks=arguments.train_landmarks,
        test=arguments.test,
        test_landmarks=arguments.test_landmarks,
        group=arguments.group,
        label=arguments.label,
        classes=() if arguments.classes is None else arguments.classes.split(","),
        count=arguments.count,
        probe_count=arguments.probe_count,
        refine=arguments.refine,
    )
    lines = [*photo_lines(summary["rows"]), *consistency_lines(summary["consistency"])]
    print("\n".join([*lines, *probe_lines(summary.get("probe", []))]))
    return 0
