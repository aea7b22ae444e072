"""``gptface doctor``: what this machine has, what runs here and why the rest does not."""

from __future__ import annotations

import argparse
import json

from gptface.diagnosis.environment import describe_environment, format_environment

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="what this machine has, which operator implementations run here, and why the others do not",
        description="Versions, devices, instruction sets, and every operator implementation with the reason where it "
        "cannot run here.",
        epilog="example: gptface doctor --json",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    environment = describe_environment()
    print(json.dumps(environment, indent=2) if arguments.json else format_environment(environment))
    return 0
