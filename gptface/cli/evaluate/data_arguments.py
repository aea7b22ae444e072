"""The options of subjects that measure on a public set as it is published, or on shards."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gptface.cli.paths import local_path, local_pattern
from gptface.errors import InputError

if TYPE_CHECKING:
    from gptface.evaluation.encoders import FaceEncoder

__all__ = ["add_data_arguments", "data_paths", "encoders"]


def add_data_arguments(parser: argparse.ArgumentParser, *, sets: str, otherwise: str) -> None:
    """Add them.

    Args:
        sets: which public sets serve.
        otherwise: what chooses where no validation faces are given.
    """
    add = parser.add_argument
    add("--data", type=local_path, metavar="DIR", help=f"a public set as published, in its three splits: {sets}")
    roles = (("train", "to fit on"), ("validation", f"to choose by (else {otherwise})"), ("test", "to test on"))
    for name, what in roles:
        add(f"--{name}", type=local_pattern, nargs="+", metavar="PATH", help=f"shards {what}, in place of --data")


def data_paths(arguments: argparse.Namespace) -> dict[str, list[str] | None]:
    """The fields ``train``, ``validation`` and ``test`` that they give.

    Raises:
        InputError: both ways, or neither; ``--data`` is no public set, whose faces would be fitted on and tested.
    """
    given = {name: getattr(arguments, name) for name in ("train", "validation", "test")}
    both = given["train"] is not None and given["test"] is not None
    if arguments.data is None:
        if both:
            return given
        if given["train"] is None and given["test"] is None:
            raise InputError("--data: give either it, or --train and --test")
        raise InputError("--train and --test: one of them was given; both are needed")
    if other := next((name for name, paths in given.items() if paths is not None), None):
        raise InputError(f"--{other}: --data has its own; give one of them")
    from gptface.data.public.recognition import recognise

    recognise(arguments.data)
    return {name: [str(arguments.data)] for name in given}


def encoders(arguments: argparse.Namespace) -> dict[str, Callable[[], FaceEncoder]]:
    """What opens each encoder of ``--encoder``, and random weights unless ``--no-random``, by the name of its row."""
    from gptface.systems import open_encoder, random_encoder

    folders = arguments.encoder
    found: dict[str, Callable[[], FaceEncoder]] = {
        "encoder" if len(folders) == 1 else str(folder): partial(open_encoder, folder) for folder in folders
    }
    if not arguments.no_random:
        found["random weights"] = partial(random_encoder, folders[0], arguments.seed)
    return found
