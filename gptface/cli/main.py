"""The ``gptface`` command: finds the sub-command, runs it, and turns bad input into one sentence and exit code 2."""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Sequence

import gptface
from gptface.cli.terminal import any_terminal
from gptface.errors import InputError

__all__ = ["COMMANDS", "build_parser", "main"]


class CommandParser(argparse.ArgumentParser):
    """A parser that speaks for itself: what its command does not know is an error with that command's usage."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        parsed, unknown = super().parse_known_args(args, namespace)
        if hasattr(parsed, "overrides") and not any(word.startswith("-") for word in unknown):
            # argparse fills a list from the first place where it stands; options may lie between its items.
            parsed.overrides, unknown = [*parsed.overrides, *unknown], []
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown


# Name -> one line for the overview. Each is a module of this package with `add_parser` and `run`. Only the module of
# the command that was asked for is imported: `gptface doctor` must work where half the extras are missing.
COMMANDS = {
    "doctor": "what this machine has, which operator implementations run here, and why the others do not",
    "prove": "run every GPU kernel against its reference on this GPU; what passes is used from then on",
    "faces": "make procedural faces with captions, as shards",
    "data": "bring face pictures and captions from the web to shards: LAION-Face",
    "train": "train one stage of a system, such as the image tokenizer",
    "convert": "make an image tokenizer of a published VQGAN checkpoint",
    "evaluate": "measure what was trained, on held-out faces",
    "report": "write one HTML page with a trained GPTFace's pictures and numbers",
    "generate": "caption to face",
    "edit": "change an attribute, an expression or a region of a face",
    "inpaint": "fill a masked part of a photo",
    "unmask": "remove what covers a face",
    "caption": "face to caption",
    "reconstruct": "photos to faces in 3D",
    "sculpt": "words to faces in 3D",
    "ask": "a question, with or without a photo, answered in words and faces",
    "studio": "edit, make and describe faces on a page in the browser",
    "face3d": "draw a morphable 3D face by named shapes, and write it as a mesh",
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The argument parser; with ``command``, that command's own arguments are filled in."""
    parser = CommandParser(
        prog="gptface",
        description="Face–language models on fast operators.",
        epilog="example: gptface doctor",
    )
    parser.add_argument("--version", action="version", version=f"gptface {gptface.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name == command:
            importlib.import_module(f"gptface.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    return parser


def _requested(arguments: Sequence[str]) -> str | None:
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    return first if first in COMMANDS else None


def _sentence(error: BaseException) -> str:
    """The one sentence for ``error``; the system's own wording is kept for files."""
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or errno.errorcode.get(error.errno, 'input/output error')}"
    return str(error) or type(error).__name__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, or 2 after one sentence on stderr when the input cannot be used."""
    with any_terminal():
        return _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    command = _requested(arguments)
    try:
        parser = build_parser(command)
        parsed = parser.parse_args(arguments)
        return int(parsed.func(parsed) or 0)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "gptface":
            raise
        print(
            f"gptface: error: {command} needs the package {error.name!r}: pip install 'gptface[train]'", file=sys.stderr
        )
        return 2
    except (InputError, OSError) as error:
        print(f"gptface: error: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gptface: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
