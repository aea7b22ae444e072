"""``gptface studio``: a page in the browser to edit, make and describe faces."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gptface.cli.device import usable_device
from gptface.cli.generation_arguments import add_system_options, load_generator
from gptface.cli.paths import local_path, local_pattern

if TYPE_CHECKING:
    from gptface.studio.heads import Heads

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "studio",
        help="edit, make and describe faces on a page in the browser",
        description="Serve a page on this computer: edit a photo by words, make faces of words, remove what covers a "
        "face, take pictures, settings and the same command line away. Nothing leaves the computer.",
        epilog="example: gptface studio --open",
    )
    add_system_options(parser)
    group = parser.add_argument_group("heads in 3D")
    group.add_argument(
        "--morphable",
        type=local_pattern,
        action="append",
        metavar="NAME|PATH",
        help="a morphable model for the sliders (default: the built-in head); may be given several times",
    )
    group.add_argument(
        "--facegpt",
        type=local_path,
        metavar="DIR",
        help="what `gptface train facegpt` leaves: heads of photos and of sentences",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default 127.0.0.1: this computer alone)"
    )
    parser.add_argument("--port", type=int, metavar="N", help="to listen on (default: the first free one from 7860 on)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    from gptface.errors import InputError
    from gptface.studio.serving import require_gradio, serve

    if arguments.port is not None and not 0 <= arguments.port < 1 << 16:
        raise InputError(f"--port: {arguments.port}; it must be 0 (any) to 65535")
    require_gradio()  # that it is missing is said before a system is read
    from gptface.studio.actions import Actions
    from gptface.studio.commands import Place

    if arguments.host not in ("127.0.0.1", "localhost", "::1"):
        print(
            f"gptface: note: everybody who reaches {arguments.host} can use the studio; it asks for no password",
            file=sys.stderr,
        )
    system = None if arguments.system is None else str(arguments.system.absolute())
    heads = _heads(arguments)
    actions = Actions(load_generator(arguments), Place(system, arguments.device))
    actions.warm_up()
    serve(actions, heads, arguments.host, arguments.port, arguments.open)
    return 0


def _heads(arguments: argparse.Namespace) -> Heads:
    """The models and the FaceGPT of the tab “3D”, read now: a wrong name is said before the page is there."""
    from gptface.studio.heads import Heads

    facegpt = None
    if arguments.facegpt is not None:
        from gptface.systems.facegpt.opening import open_system

        facegpt = open_system(arguments.facegpt, device=usable_device(arguments.device))
    folder = "" if arguments.facegpt is None else str(arguments.facegpt.absolute())
    models = list(dict.fromkeys(arguments.morphable or ["synthetic"]))
    heads = Heads(models, facegpt, folder, arguments.device)
    for name in models:
        heads.morphable(name)
    return heads
