"""Shell blocks of the pages: every command that they call is there and takes the options that they give it."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex

import pytest

from benchmarks.command import build_parser as benchmarks_parser
from docsite.commands import command_page, command_parser, subcommands
from gptface.cli.main import COMMANDS, build_parser
from tests.docs.pages import ROOT, command_lines, pages

LINES = [(page, number, line) for page in pages() for number, line in command_lines(page)]
# Other programs that pages call.
KNOWN = {"pip", "c++", "tar", "python"}


def variables(page: str) -> dict[str, str]:
    """What the shell blocks of ``page`` put into variables; of a loop, the first."""
    found: dict[str, str] = {}
    for _, line in command_lines(page):
        for name, value in re.findall(r"(?<!\S)(\w+)=(\"[^\"]*\"|'[^']*'|[^\s;]*)", line):
            found[name] = value.strip("\"'")
        found.update(re.findall(r"\bfor (\w+) in (\S+?)[\s;]", f"{line} "))
    return found


def calls(line: str, known: dict[str, str]) -> list[list[str]]:
    """The programs that a line of shell starts, with their arguments."""
    for _ in range(3):  # variables of variables
        line = re.sub(r"\$\{?(\w+)\}?", lambda name: known.get(name[1], name[1]), line)
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)", "made", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            found.append([])
        else:
            found[-1].append(word)
    for words in found:
        while words and (re.match(r"\w+=", words[0]) or words[0] == "do"):
            words.pop(0)
    return [words for words in found if words and words[0] not in ("for", "done", "export", "wait")]


def refused(parser: argparse.ArgumentParser, words: list[str]) -> str:
    """What ``parser`` says against ``words``; empty where it takes them."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(words)
    except SystemExit as end:
        return said.getvalue() if end.code else ""
    return ""


def wrong(words: list[str]) -> str:
    """What is wrong with a program and its arguments; empty where nothing is."""
    if words[0] == "gptface":
        if words[1] not in COMMANDS:
            return "is no command"
        return refused(build_parser(words[1]), words[1:])
    if words[:3] == ["python", "-m", "benchmarks"]:
        return refused(benchmarks_parser(), words[3:])
    if words[:2] == ["python", "-m"]:
        module = ROOT / words[2].replace(".", "/")
        return "" if module.is_dir() or module.with_suffix(".py").is_file() else "is no module"
    if words[0] == "make":
        return "" if f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8") else "is no target"
    return "" if words[0] in KNOWN or (ROOT / words[0]).is_file() else "is no program that pages call"


def test_there_are_commands() -> None:
    assert sum(words[0] == "gptface" for page, _, line in LINES for words in calls(line, variables(page))) > 60


@pytest.mark.parametrize("page", sorted({page for page, _, _ in LINES}))
def test_commands_are_there_and_take_their_options(page: str) -> None:
    known = variables(page)
    for number, line in command_lines(page):
        for words in calls(line, known):
            said = wrong(words)
            assert not said, f"{page}:{number}: {shlex.join(words)}: {said}"


def test_what_is_wrong_is_found() -> None:
    assert not wrong(["gptface", "edit", "photo.jpg", "--output", "a.png"])
    lines = ("gptface edt a.png", "gptface edit a.png --otput b.png", "make nothing", "python -m benchmarks nothing")
    assert all(wrong(shlex.split(line)) for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_a_command_has_all_it_takes(name: str) -> None:
    page = command_page(name)
    for parser in subcommands(command_parser(name)):
        assert f"`{parser.prog}`" in page
        for action in parser._actions:
            named = [option for option in action.option_strings if option not in ("-h", "--help")]
            assert action.help == argparse.SUPPRESS or all(f"`{option}" in page for option in named), named
