"""The options that every measurement of FaceGPT has in common."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gptface.cli.paths import local_path, local_pattern

if TYPE_CHECKING:
    from gptface.systems.facegpt.evaluation.systems import Wanted

__all__ = ["add_drawn_face_arguments", "add_refine_argument", "add_system_arguments", "wanted"]


def add_system_arguments(parser: argparse.ArgumentParser, *, seed: str | None, sheet: str | None) -> None:
    """Add them; ``seed`` and ``sheet`` say what these are, ``None`` that there is none."""
    add = parser.add_argument
    add(
        "--system",
        type=local_path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="what `gptface train facegpt` leaves, a row each; facegpt.model.language=false makes a baseline",
    )
    add(
        "--model",
        type=local_pattern,
        metavar="NAME|PATH",
        help="the morphable model, where it is no longer where it was in training: the same one is needed",
    )
    add("--device", default="auto", help="auto (a GPU where there is one), cpu or cuda")
    if seed is not None:
        add("--seed", type=int, help=f"{seed} (default: one that no training uses)")
    add("--output", type=local_path, metavar="FILE", help="also write everything as JSON")
    if sheet is not None:
        add("--sheet", type=local_path, metavar="PNG", help=sheet)


def add_drawn_face_arguments(parser: argparse.ArgumentParser) -> None:
    """What stands behind drawn heads, and how large these are: as in training."""
    add = parser.add_argument
    add(
        "--backgrounds",
        type=local_pattern,
        nargs="+",
        default=[],
        metavar="PATH",
        help="photos whose borders stand behind the heads (default: smooth noise)",
    )
    add("--zoom", type=float, default=1.4, help="how large heads are: 1 is a portrait (default 1.4)")


def add_refine_argument(parser: argparse.ArgumentParser) -> None:
    """Whether what systems say is also refined."""
    parser.add_argument(
        "--refine",
        type=int,
        default=0,
        metavar="STEPS",
        help="a second row a system: its heads fitted to their pictures by so many steps of descent (default: none)",
    )


def wanted(arguments: argparse.Namespace) -> Wanted:
    """The common options as the measurements take them."""
    from gptface.systems.facegpt.evaluation.systems import HELD_OUT_SEED, Wanted

    seed = getattr(arguments, "seed", None)
    return Wanted(
        systems=arguments.system,
        morphable=arguments.model,
        device=arguments.device,
        seed=HELD_OUT_SEED if seed is None else seed,
        output=arguments.output,
        sheet=getattr(arguments, "sheet", None),
    )
