"""A page a command, from the parser that the command itself uses."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from gptface.cli.main import COMMANDS, build_parser

__all__ = ["command_page", "command_parser", "overview_page", "subcommands"]


def command_parser(name: str) -> argparse.ArgumentParser:
    """The parser of ``gptface NAME``, with all it holds."""
    return _children(build_parser(name))[name]


def _children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """``parser`` and every parser below it, in the order of declaration."""
    yield parser
    for child in _children(parser).values():
        yield from subcommands(child)


def _cell(text: str) -> str:
    """``text`` as a cell of a table: what looks like Markdown or HTML in it is text."""
    text = re.sub(r"(`[^`]*`)|([<>*_\[\]])", lambda found: found[1] or f"\\{found[2]}", " ".join(text.split()))
    return text.replace("|", "\\|")


def _names(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    """As in ``--help``: ``--output FILE``; what has no option by its own name."""
    if not action.option_strings:
        return str(formatter._metavar_formatter(action, action.dest)(1)[0])
    value = "" if action.nargs == 0 else " " + formatter._format_args(action, action.dest.upper())
    return ", ".join(f"{option}{value}" for option in action.option_strings)


def _meaning(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    needed = " *Required.*" if action.option_strings and action.required else ""
    return _cell(formatter._expand_help(action) if action.help else "") + needed


def _tables(parser: argparse.ArgumentParser) -> Iterator[str]:
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
                continue
            if isinstance(action, argparse._SubParsersAction):
                rows += [(choice.dest, _cell(choice.help or "")) for choice in action._choices_actions]
            else:
                rows.append((_names(action, formatter), _meaning(action, formatter)))
        if rows:
            title = (group.title or "").replace("positional arguments", "arguments")
            lines = [f"| {title} | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows)]
            # A | inside code splits a cell too.
            whole = [re.sub(r"`[^`]*`", lambda code: code[0].replace("|", "\\|"), line, count=1) for line in lines]
            yield "\n".join(whole)


def _example(epilog: str) -> str:
    """The example below ``--help``: a command to copy, and what is said beside it."""
    found = re.match(r"examples?:\s*(.*)", epilog, re.DOTALL)
    if not found:
        return epilog
    command, _, rest = found[1].strip().partition("\n\n")
    command = "\n".join(line.strip() for line in command.splitlines())
    return "\n\n".join(part for part in (f"```bash\n{command}\n```", rest.strip()) if part)


def _section(parser: argparse.ArgumentParser, level: int) -> str:
    children = _children(parser)
    parts = [f"{'#' * level} `{parser.prog}`", (parser.description or "").strip()]
    if parser.epilog:
        parts.append(_example(parser.epilog))
    parts += _tables(parser)
    parts += [_section(child, level + 1) for child in children.values()]
    return "\n\n".join(part for part in parts if part)


def command_page(name: str) -> str:
    """The page of ``gptface NAME``: what it does, its example, its arguments, and the same of its sub-commands."""
    return _section(command_parser(name), 1) + "\n"


def overview_page() -> str:
    """All commands, a line each."""
    rows = [f"| [`gptface {name}`]({name}.md) | {_cell(summary)} |" for name, summary in COMMANDS.items()]
    about = (
        "Bad input is one sentence and exit code 2, and leaves nothing half-written. Commands that use a trained "
        "GPTFace take the small one inside the package where `--system` is not given. These pages are made of the "
        "commands' own parsers, so they say what `--help` says."
    )
    return "\n".join(["# Commands", "", about, "", "| command | what it does |", "|---|---|", *rows, ""])
