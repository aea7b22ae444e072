"""The options that every subject on a label of faces has in common."""

from __future__ import annotations

import argparse
from typing import Any

from gptface.cli.paths import local_path, local_pattern
from gptface.errors import InputError

__all__ = ["add_label_arguments", "add_share_arguments", "label_shares", "label_task"]


def add_label_arguments(parser: argparse.ArgumentParser, *, seeds: str) -> None:
    """Add them; ``seeds`` says what a seed draws anew."""
    add = parser.add_argument
    for name in ("train", "test"):
        what = f"shards or a public set to {name} on"
        add(f"--{name}", type=local_pattern, nargs="+", required=True, metavar="PATH", help=what)
    add("--label", required=True, metavar="FIELD", help="metadata field to tell apart, such as expression")
    add("--classes", required=True, metavar="A,B", help="its values to tell apart; other faces are left out")
    add("--group", metavar="FIELD", help="metadata field of the person: nobody is on both sides of a split")
    add_share_arguments(parser, seeds=seeds)
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    add("--table", type=local_path, metavar="MD", help="also write a Markdown table, with what was measured on what")
    add("--plot", type=local_path, metavar="PNG", help="also draw accuracy over the number of labels")


def add_share_arguments(parser: argparse.ArgumentParser, *, seeds: str) -> None:
    """Add the options of shares and seeds; ``seeds`` says what a seed draws anew."""
    add = parser.add_argument
    add("--label-share", default="1", metavar="SHARES", help="shares of the training labels, such as 0.01,0.1,1")
    add("--seeds", type=int, default=1, help=f"{seeds} (default 1)")


def label_shares(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields ``shares`` and ``seeds`` that they give."""
    try:
        shares = [float(text) for text in arguments.label_share.split(",")]
    except ValueError:
        raise InputError(f"--label-share: got {arguments.label_share}; allowed are numbers, by commas apart") from None
    return {"shares": shares, "seeds": arguments.seeds}


def label_task(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of a :class:`gptface.evaluation.label_task.LabelTask` that they give."""
    names = ("train", "test", "label", "group", "device", "output", "table", "plot")
    same = {name: getattr(arguments, name) for name in names}
    return {**same, **label_shares(arguments), "classes": arguments.classes.split(",")}
