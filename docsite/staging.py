"""The pages from which the site is built: those of ``docs/`` with their links made to fit, and those made from code."""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from docsite.commands import command_page, overview_page
from docsite.markdown import CODE, LINK, change_prose
from docsite.notebooks import NOTEBOOKS, notebook_page
from docsite.reference import REFERENCE, public_names, reference_page
from gptface.cli.main import COMMANDS

__all__ = ["stage", "unlisted", "write_configuration"]

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CONFIGURATION = Path(__file__).with_name("zensical.toml")
COMMAND_FILES = ROOT / "gptface" / "cli"

# What a source file is highlighted as, by its name's end.
LANGUAGES = {".py": "python", ".cpp": "cpp", ".h": "cpp", ".cuh": "cpp", ".sh": "bash", ".json": "json"}
ASSETS = {".png", ".svg", ".css", ".js"}
_COMMENT = re.compile(r"^<!--.*?-->\n*", re.MULTILINE | re.DOTALL)
_FENCE_OPTIONS = re.compile(r"^(```\w+) [^\n]*$", re.MULTILINE)


class Pages:
    """Pages and files by their place in the site; what other pages link to outside ``docs/`` is added as it is met."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.files: dict[str, Path] = {}

    def add_document(self, source: Path) -> str:
        """Put a Markdown file of the repository in, and return its place."""
        place = self._place(source)
        if place not in self.pages:
            self.pages[place] = ""  # met again while its own links are followed
            text = _FENCE_OPTIONS.sub(r"\1", _COMMENT.sub("", source.read_text(encoding="utf-8")))
            text = change_prose(text, lambda prose: LINK.sub(lambda link: self._relinked(link, source, place), prose))
            self.pages[place] = text if "/" in place and place.startswith("source/") else linked_names(text, place)
        return place

    def _place(self, source: Path) -> str:
        if source.is_relative_to(DOCS):
            return source.relative_to(DOCS).as_posix()
        return f"source/{source.relative_to(ROOT).as_posix()}"

    def _relinked(self, link: re.Match[str], source: Path, place: str) -> str:
        target, _, anchor = link["target"].partition("#")
        if not target or re.match(r"\w+:", target):
            return link[0]
        found = (source.parent / target).resolve()
        if not found.exists() or not found.is_relative_to(ROOT):
            return link[0]  # zensical says where it stands
        to = posixpath.relpath(self._linked(found), posixpath.dirname(place) or ".")
        return f"{link['start']}{to}{'#' + anchor if anchor else ''}{link['end']}"

    def _linked(self, found: Path) -> str:
        """The place of what a link leads to; for what pages are made of, that is the page."""
        if found == COMMAND_FILES:
            return "commands/index.md"
        if found.parent == DOCS / "notebooks" and found.stem in NOTEBOOKS:
            return f"notebooks/{found.stem}.md"
        if found.is_dir():
            return self._add_listing(found)
        if found.suffix == ".md":
            return self.add_document(found)
        if found.suffix in ASSETS or found.is_relative_to(DOCS):
            place = self._place(found)
            self.files[place] = found
            return place
        return self._add_source(found)

    def _add_source(self, file: Path) -> str:
        place = f"{self._place(file)}.md"
        if place not in self.pages:
            name = file.relative_to(ROOT).as_posix()
            text = file.read_text(encoding="utf-8")
            if len(text) > 100_000:
                self.pages[place] = f"# `{name}`\n\n{len(text):,} characters: in the repository.\n"
            else:
                fence = f"````{LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n````"
                self.pages[place] = f"---\nsearch:\n  exclude: true\n---\n\n# `{name}`\n\n{fence}\n"
        return place

    def _add_listing(self, folder: Path) -> str:
        place = f"{self._place(folder)}/index.md"
        if place not in self.pages:
            self.pages[place] = ""
            rows = []
            for file in sorted(folder.iterdir()):
                if file.suffix in LANGUAGES or file.suffix == ".md":
                    linked = posixpath.relpath(self._linked(file), posixpath.dirname(place))
                    rows.append(f"- [`{file.name}`]({linked})")
            self.pages[place] = "\n".join([f"# `{folder.relative_to(ROOT).as_posix()}`", "", *rows, ""])
        return place


def linked_names(text: str, place: str) -> str:
    """``text`` with the first mention of each command and operator, written as code, made a link to its page."""
    up = "../" * (len(PurePosixPath(place).parts) - 1)
    targets = {f"gptface {name}": f"({up}commands/{name}.md)" for name in COMMANDS}
    targets |= {name: f"[gptface.ops.{name}]" for name in public_names("gptface.ops")}
    met: set[str] = set()

    def change(prose: str) -> str:
        taken = [(found.start(), found.end()) for found in LINK.finditer(prose)]

        def link(code: re.Match[str]) -> str:
            words = code[0].strip("`")
            name = " ".join(words.split()[:2]) if words.startswith("gptface ") else words
            line = prose.rfind("\n", 0, code.start()) + 1
            inside = any(start <= code.start() < end for start, end in taken) or prose.startswith("#", line)
            if name not in targets or name in met or inside:
                return code[0]
            met.add(name)
            return f"[{code[0]}]{targets[name]}"

        return CODE.sub(link, prose)

    return change_prose(text, change)


def _documents() -> Iterable[Path]:
    return sorted(DOCS.rglob("*.md"))


def _everything(work: Path, run_notebooks: bool) -> Iterator[tuple[str, bytes]]:
    pages = Pages()
    for source in _documents():
        pages.add_document(source)
    pages.add_document(ROOT / "CHANGELOG.md")
    pages.pages["commands/index.md"] = overview_page()
    for name in COMMANDS:
        pages.pages[f"commands/{name}.md"] = command_page(name)
    for page in REFERENCE:
        pages.pages[page.path] = reference_page(page)
    for place, text in pages.pages.items():
        yield place, text.encode()
    for place, file in pages.files.items():
        yield place, file.read_bytes()
    for file in sorted((DOCS / "assets").iterdir()):
        yield f"assets/{file.name}", file.read_bytes()
    for name in NOTEBOOKS:
        for place, data in notebook_page(DOCS / "notebooks" / f"{name}.py", work, run_notebooks):
            if place.endswith(".md"):
                data = linked_names(data.decode(), place).encode()
            yield place, data


def stage(work: Path, *, run_notebooks: bool = True) -> list[str]:
    """Write all pages to ``work/pages`` and the configuration beside them.

    Files that stay as they are keep their time, and those that no longer come up are removed, so that a watching server
    sees what changed.

    Returns:
        Places of all pages.
    """
    target = work / "pages"
    written: dict[Path, None] = {}
    for place, data in _everything(work, run_notebooks):
        file = target / place
        written[file] = None
        if not file.is_file() or file.read_bytes() != data:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    for file in list(target.rglob("*")):
        if file.is_file() and file not in written:
            file.unlink()
    for folder in sorted((path for path in target.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            shutil.rmtree(folder)
    write_configuration(work)
    return sorted(file.relative_to(target).as_posix() for file in written if file.suffix == ".md")


def write_configuration(work: Path) -> None:
    """``zensical.toml`` with the navigation's generated parts filled in."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    commands = ["commands/index.md", *(f"commands/{name}.md" for name in COMMANDS)]
    parts = {"commands/index.md": commands, "reference/": [page.path for page in REFERENCE]}
    for placeholder, places in parts.items():
        listed = ", ".join(f'"{place}"' for place in places)
        assert text.count(f'["{placeholder}"]') == 1, placeholder
        text = text.replace(f'["{placeholder}"]', f"[{listed}]")
    text = text.replace('paths = [".."]', f'paths = ["{ROOT.as_posix()}"]')
    text = text.replace('"docstrings.py"', f'"{(Path(__file__).parent / "docstrings.py").as_posix()}"')
    work.mkdir(parents=True, exist_ok=True)
    file = work / "zensical.toml"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def unlisted(places: Iterable[str]) -> list[str]:
    """Pages that the navigation does not have; those of source files are found by the links to them."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    generated = ("source/", "commands/", "reference/")
    return [place for place in places if not place.startswith(generated) and f'"{place}"' not in text]
