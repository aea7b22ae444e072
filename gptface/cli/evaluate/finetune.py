"""``gptface evaluate finetune``: an encoder trained on labels, beside networks that had the labels alone."""

from __future__ import annotations

import argparse

from gptface.cli.evaluate.label_arguments import add_label_arguments, label_task
from gptface.cli.paths import local_path

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "finetune",
        help="an encoder fine-tuned on labels, by how many labels it is given",
        description="Fine-tunes an encoder on a label of the faces' metadata and measures it on other people, beside "
        "the same architecture from random weights and a small residual network from scratch, which see the same "
        "labels under the same augmentation. Without --encoder, the small network alone.",
        epilog="example: gptface evaluate finetune --encoder runs/pacofr/model/encoder --train 'faces/train-*.tar' "
        "--test 'faces/val-*.tar' --label expression --classes neutral,happiness --group person "
        "--label-share 0.01,0.1,1 --seeds 3 --output finetune.json",
    )
    add = parser.add_argument
    add("--encoder", type=local_path, metavar="DIR", help="what pre-training leaves")
    add_label_arguments(parser, seeds="trainings of each, with other labels and weights")
    add("--epochs", type=float, help="of the encoder (default 10), at least 200 steps")
    add("--minutes", type=float, help="of each training of an encoder at most; the learning rate follows the clock")
    add("--learning-rate", type=float, help="peak, of the head and the last layer (default 0.001)")
    add("--layer-decay", type=float, help="the rate's factor from each layer to the one before it (default 0.75)")
    add("--keep-patches", type=float, help="share of the patches that training sees at a time (default 1)")
    add("--pooling", default="attentive", help="of the patches: attentive (default) or mean")
    add("--network-epochs", type=float, help="of the network from scratch (default 14), at least 400 steps; 0: without")
    add("--no-random", action="store_true", help="without the same architecture from random weights")
    add(
        "--best-on-test",
        action="store_true",
        help="also tell the look that was best on the test faces, as FaRL reports; it chooses nothing",
    )
    add("--save", type=local_path, metavar="DIR", help="keep the classifier fine-tuned on the most labels, seed 0")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from transformers.utils.logging import disable_progress_bar

    from gptface.evaluation.fine_tuning import Recipe
    from gptface.evaluation.label_shares import NETWORK_RECIPE, row_lines
    from gptface.evaluation.measured_fine_tuning import FineTuning, measure_fine_tuning
    from gptface.systems import open_encoder, random_encoder

    disable_progress_bar()  # of the one file of weights that --save writes
    names = ("epochs", "minutes", "learning_rate", "layer_decay", "keep_patches")
    given = {name: getattr(arguments, name) for name in names}
    folder, epochs = arguments.encoder, arguments.network_epochs
    network = NETWORK_RECIPE if epochs is None else replace(NETWORK_RECIPE, epochs=epochs) if epochs else None
    summary = measure_fine_tuning(
        FineTuning(
            **label_task(arguments),
            recipe=replace(Recipe(), **{name: value for name, value in given.items() if value is not None}),
            network=network,
            pooling=arguments.pooling,
            save=arguments.save,
            watch_test=arguments.best_on_test,
            facts=(("encoder", None if folder is None else str(folder)),),
        ),
        encoder=None if folder is None else lambda: open_encoder(folder),
        random=None if folder is None or arguments.no_random else lambda seed: random_encoder(folder, seed),
    )
    print("\n".join(row_lines(summary)))
    return 0
