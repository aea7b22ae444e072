"""Pages of ``docs/`` as tests see them: their code, section by section, and their commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Section", "anchors", "command_lines", "links", "pages", "sections", "text_of"]

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<language>\w*)(?P<options>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass
class Section:
    """What stands under one heading of a page; its blocks share their names, and no other section's."""

    page: str
    title: str
    blocks: list[tuple[int, str]]  # number of the first line, code
    needs: set[str]

    @property
    def name(self) -> str:
        return f"{Path(self.page).with_suffix('').relative_to('docs')}: {self.title}"


def pages() -> list[str]:
    """Every page, from the repository's root."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def sections(page: str) -> list[Section]:
    """Sections of ``page`` that hold Python. A fence ``python needs=NAME`` is of people who have that package."""
    text = text_of(page)
    found: dict[str, Section] = {}
    for match in FENCE.finditer(text):
        if match["language"] != "python":
            continue
        # A comment in a block of code looks like a heading.
        title = HEADING.findall(FENCE.sub("", text[: match.start()]))[-1]
        section = found.setdefault(title, Section(page, title, [], set()))
        section.blocks.append((text.count("\n", 0, match.start("code")) + 1, match["code"]))
        section.needs |= set(re.findall(r"needs=(\S+)", match["options"]))
    return list(found.values())


def anchors(text: str) -> set[str]:
    """What links may name in a page: its headings, as GitHub and the site spell them."""
    titles = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: str) -> list[str]:
    """Targets of the links of ``page`` that lead to no other site."""
    return re.findall(r"\]\((?!\w+:)([^)]+)\)", FENCE.sub("", text_of(page)))


def command_lines(page: str) -> Iterator[tuple[int, str]]:
    """Every command of the shell blocks of ``page`` with the number of its line; continued lines are joined."""
    text = text_of(page)
    for match in FENCE.finditer(text):
        if match["language"] != "bash":
            continue
        number = text.count("\n", 0, match.start("code")) + 1
        line, first = "", number
        for offset, part in enumerate(match["code"].splitlines()):
            first = first if line else number + offset
            line += part.removesuffix("\\")
            if not part.endswith("\\"):
                yield first, line
                line = ""
