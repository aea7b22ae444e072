"""``gptface train``: the image tokenizer, the face–language transformer, or the face parser."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

__all__ = ["add_parser", "run"]

STAGES = {
    "tokenizer": ("the image tokenizer", "gptface train tokenizer --config demo --output runs/demo/tokenizer"),
    "pretrain": (
        "the face-language transformer, on the codes of a trained tokenizer",
        "gptface train pretrain --config demo --tokenizer runs/demo/tokenizer --output runs/demo/system "
        "pretrain.steps=500 pretrain.learning_rate=5e-4",
    ),
    "parser": (
        "the face parser, or with another parser.seed the judge of the evaluation",
        "gptface train parser --config demo --output runs/demo/judge parser.seed=1",
    ),
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train the image tokenizer, the face-language transformer, or the face parser",
        description="Train one stage. The same command goes on where a killed run stopped, and returns at once when it "
        "is complete. Over several processes: torchrun --nproc-per-node N -m gptface train ...",
        epilog=f"example: {STAGES['tokenizer'][1]}",
    )
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for name, (summary, example) in STAGES.items():
        stage = stages.add_parser(name, help=summary, description=f"Train {summary}.", epilog=f"example: {example}")
        stage.add_argument(
            "--config", required=True, metavar="FILE|NAME", help="a YAML file, or demo, tiny, small, base, real-faces"
        )
        stage.add_argument("--output", type=Path, metavar="DIR", help="folder of the run and its result")
        if name == "pretrain":
            stage.add_argument("--tokenizer", type=Path, metavar="DIR", help="a trained tokenizer or its run's folder")
            stage.add_argument("--parser", type=Path, metavar="DIR", help="a trained parser to put into the system")
        stage.add_argument("--restart", action="store_true", help="begin anew instead of going on from a checkpoint")
        stage.add_argument("--quiet", action="store_true", help="no progress, errors only")
        stage.add_argument(
            "--print-config", action="store_true", help="print the whole configuration, defaults included, and stop"
        )
        stage.add_argument(
            "overrides", nargs="*", metavar="key=value", help=f"changes to the configuration, such as {name}.steps=200"
        )
        stage.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from transformers.utils.logging import disable_progress_bar

    from gptface.errors import InputError
    from gptface.training.configuration_files import configuration_to_yaml, load_configuration
    from gptface.training.runs import train_parser, train_pretrain, train_tokenizer

    configuration = load_configuration(arguments.config, arguments.overrides)
    if arguments.print_config:
        print(configuration_to_yaml(configuration), end="")
        return 0
    if arguments.output is None:
        raise InputError("--output must be given: the folder of the run and its result")
    disable_progress_bar()  # loading and saving take a moment; training has a bar of its own
    common = {"restart": arguments.restart, "verbose": not arguments.quiet}
    if arguments.stage == "tokenizer":
        result = train_tokenizer(configuration, arguments.output, **common)
    elif arguments.stage == "parser":
        result = train_parser(configuration, arguments.output, **common)
    else:
        if arguments.tokenizer is None:
            raise InputError("--tokenizer must be given: the folder of a trained tokenizer (gptface train tokenizer)")
        result = train_pretrain(
            configuration, arguments.tokenizer, arguments.output, parser_folder=arguments.parser, **common
        )
    if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        print(f"{arguments.stage}: {result}")
    return 0
