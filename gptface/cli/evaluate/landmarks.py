"""``gptface evaluate landmarks``: facial landmarks read off an encoder's features, frozen and fine-tuned."""

from __future__ import annotations

import argparse

from gptface.cli.paths import local_path, local_pattern

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "landmarks",
        help="landmarks regressed from an encoder's features, frozen and fine-tuned",
        description="Regresses facial landmarks from the features of an encoder's patches: by ridge regression while "
        "it is frozen, and with all of it trained on, beside the mean shape and the same architecture with random "
        "weights. The error is the mean distance of the points, by the distance between the eyes' centres.",
        epilog="example: gptface evaluate landmarks --encoder runs/pacofr/model/encoder --train 'faces/train-*.tar' "
        "--train-landmarks faces/landmarks468_train.npz --test 'faces/val-*.tar' "
        "--test-landmarks faces/landmarks468_val.npz --group person --output landmarks.json --sheet landmarks.png",
    )
    add = parser.add_argument
    add("--encoder", type=local_path, required=True, metavar="DIR", help="what pre-training leaves")
    for name in ("train", "test"):
        what = f"shards to {name} on, or a folder of 300-W, WFLW, AFLW-19 or LaPa as published"
        add(f"--{name}", type=local_pattern, nargs="+", required=True, metavar="PATH", help=what)
        add(
            f"--{name}-landmarks",
            type=local_pattern,
            metavar="NPZ",
            help="the shards' points: key (N,), points (N, P, 2 or 3) in pixels of the stored pictures",
        )
    add("--group", metavar="FIELD", help="metadata field of the person: nobody is on both sides of a split")
    add("--portraits", type=local_pattern, nargs="+", default=[], metavar="PATH", help="portraits of one window")
    add("--portrait-landmarks", type=local_pattern, metavar="NPZ", help="their points; 0 and 1 are the pupils")
    add("--frozen-only", action="store_true", help="no fine-tuning")
    add("--epochs", type=float, help="of the fine-tuning (default 6), at least 200 steps")
    add("--minutes", type=float, help="of the fine-tuning at most; the learning rate follows the clock")
    add("--learning-rate", type=float, help="of the fine-tuning (default 0.0015)")
    add(
        "--best-on-test",
        action="store_true",
        help="also tell the fine-tuned look that was best on the test faces, as FaRL reports; it chooses nothing",
    )
    add("--no-random", action="store_true", help="without the random weights")
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    add("--seed", type=int, default=0, help="of random weights, faces held out and fine-tuning (default 0)")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    add("--table", type=local_path, metavar="MD", help="also write a Markdown table, with what was measured on what")
    add("--plot", type=local_path, metavar="PNG", help="also draw the distribution of the errors")
    add("--sheet", type=local_path, metavar="PNG", help="draw points given and found on some test faces")
    add(
        "--save",
        type=local_path,
        metavar="DIR",
        help="also keep the regression, fine-tuned unless --frozen-only, for `evaluate inpainting` and `smiles`",
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from gptface.evaluation.landmark_regression import LANDMARK_RECIPE
    from gptface.evaluation.landmarks import LandmarkTest, landmark_lines, measure_landmarks
    from gptface.systems import open_encoder, random_encoder

    given = {name: getattr(arguments, name) for name in ("epochs", "minutes", "learning_rate")}
    recipe = replace(LANDMARK_RECIPE, **{name: value for name, value in given.items() if value is not None})
    folder = arguments.encoder
    summary = measure_landmarks(
        LandmarkTest(
            train=arguments.train,
            train_landmarks=arguments.train_landmarks,
            test=arguments.test,
            test_landmarks=arguments.test_landmarks,
            group=arguments.group,
            portraits=arguments.portraits,
            portrait_landmarks=arguments.portrait_landmarks,
            recipe=None if arguments.frozen_only else recipe,
            watch_test=arguments.best_on_test,
            device=arguments.device,
            seed=arguments.seed,
            output=arguments.output,
            sheet=arguments.sheet,
            table=arguments.table,
            plot=arguments.plot,
            save=arguments.save,
            facts=(("encoder", str(folder)),),
        ),
        encoder=lambda: open_encoder(folder),
        random=None if arguments.no_random else lambda seed: random_encoder(folder, seed),
    )
    print("\n".join(landmark_lines(summary)))
    return 0
