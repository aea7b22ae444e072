"""Pages of ``docs/`` whose fenced Python is run: every block as it stands, those of a section one after the other."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import gptface

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["docs/embedding.md"]

FENCE = re.compile(r"^```python(?P<options>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
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
        return f"{Path(self.page).stem}: {self.title}"


def sections(page: str) -> list[Section]:
    """Sections of ``page`` that hold Python. A fence ``python needs=NAME`` is of people who have that package."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found: dict[str, Section] = {}
    for match in FENCE.finditer(text):
        # A comment in a block of code looks like a heading.
        before = FENCE.sub("", text[: match.start()])
        title = HEADING.findall(before)[-1]
        section = found.setdefault(title, Section(page, title, [], set()))
        section.blocks.append((text.count("\n", 0, match.start("code")) + 1, match["code"]))
        section.needs |= set(re.findall(r"needs=(\S+)", match["options"]))
    return list(found.values())


SECTIONS = [section for page in PAGES for section in sections(page)]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_code_runs_as_it_stands(section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [name for name in section.needs if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed: pip install {' '.join(missing)}")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for line, code in section.blocks:
        # Blank lines before it, so that an error names the line of the page.
        exec(compile("\n" * (line - 1) + code, str(ROOT / section.page), "exec"), names)


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_of_python_is_found(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert sum(len(section.blocks) for section in sections(page)) == text.count("\n```python") > 0


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    titles = HEADING.findall(FENCE.sub("", text))
    headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        assert not file or (ROOT / page).parent.joinpath(file).exists(), target
        assert file or anchor in headings, target


def test_the_page_on_embedding_names_every_header() -> None:
    text = (ROOT / "docs/embedding.md").read_text(encoding="utf-8")
    table = text[text.index("| subject | include |") : text.index("Host code of the rasteriser")]
    headers = sorted(path.name for path in (Path(gptface.get_include()) / "gptface").iterdir())
    assert sorted(re.findall(r"`(\w+\.(?:h|cuh))`", table)) == headers
