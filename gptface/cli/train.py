"""``gptface train``: one stage of a system, such as the image tokenizer."""

from __future__ import annotations

import argparse
import os

from gptface.cli.paths import local_path, local_pattern
from gptface.systems import find_stages

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    from gptface.training.configuration_files import named_configurations
    from gptface.training.loggers import LOGGERS

    declared = find_stages()
    parser = subparsers.add_parser(
        "train",
        help="train one stage of a system, such as the image tokenizer",
        description="Train one stage. The same command goes on where a killed run stopped, and returns at once when it "
        "is complete; with more steps or minutes it goes on further. Over several processes: torchrun "
        "--nproc-per-node N -m gptface train ...",
        epilog=f"example: {declared['tokenizer'].example}",
    )
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for name, declaration in declared.items():
        stage = stages.add_parser(
            name,
            help=declaration.summary,
            description=f"Train {declaration.summary}.",
            epilog=f"example: {declaration.example}",
        )
        named = ", ".join(named_configurations(declaration.configuration))
        stage.add_argument(
            "--config", type=local_pattern, required=True, metavar="FILE|NAME", help=f"a YAML file, or one of {named}"
        )
        stage.add_argument("--output", type=local_path, metavar="DIR", help="folder of the run and its result")
        for entry in declaration.inputs:
            stage.add_argument(f"--{entry.name}", type=local_path, metavar="DIR", help=entry.summary)
        stage.add_argument("--restart", action="store_true", help="begin anew instead of going on from a checkpoint")
        stage.add_argument(
            "--log-with",
            action="append",
            default=[],
            choices=LOGGERS,
            help="also send metrics and configuration to this experiment logger; may be given several times",
        )
        stage.add_argument("--quiet", action="store_true", help="no progress, errors only")
        stage.add_argument(
            "--print-config", action="store_true", help="print the whole configuration, defaults included, and stop"
        )
        stage.add_argument(
            "overrides",
            nargs="*",
            metavar="key=value",
            help=f"changes to the configuration, such as {name}.steps=200; lists as in YAML: 'data.train=[faces]'",
        )
        stage.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from transformers.utils.logging import disable_progress_bar

    from gptface.errors import InputError
    from gptface.training.configuration_files import configuration_to_yaml, load_configuration
    from gptface.training.run import run_stage

    declaration = find_stages()[arguments.stage]
    configuration = load_configuration(declaration.configuration, arguments.config, arguments.overrides)
    if arguments.print_config:
        print(configuration_to_yaml(configuration), end="")
        return 0
    if arguments.output is None:
        raise InputError("--output must be given: the folder of the run and its result")
    disable_progress_bar()  # loading and saving take a moment; training has a bar of its own
    inputs = {entry.name: getattr(arguments, entry.name) for entry in declaration.inputs}
    result = run_stage(
        declaration,
        configuration,
        arguments.output,
        restart=arguments.restart,
        verbose=not arguments.quiet,
        log_with=arguments.log_with,
        **inputs,
    )
    if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        print(f"{arguments.stage}: {result}")
    return 0
