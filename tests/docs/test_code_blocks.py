"""Pages of ``docs/`` whose fenced Python is run: every block as it stands, those of a section one after the other."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import gptface
from tests.docs.pages import ROOT, Section, anchors, links, pages, sections, text_of
from tests.docs.preparations import prepare

SECTIONS = [section for page in pages() for section in sections(page)]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_code_runs_as_it_stands(section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [name for name in section.needs if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed: pip install {' '.join(missing)}")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__", **prepare(section, tmp_path, monkeypatch)}
    for line, code in section.blocks:
        # Blank lines before it, so that an error names the line of the page.
        exec(compile("\n" * (line - 1) + code, str(ROOT / section.page), "exec"), names)


def test_every_fence_of_python_is_found() -> None:
    fences = sum(len(re.findall(r"^```python", text_of(page), re.MULTILINE)) for page in pages())
    assert sum(len(section.blocks) for section in SECTIONS) == fences > 50


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    """To files of the repository, and to headings of pages: also where nobody builds the site."""
    for target in links(page):
        file, _, anchor = target.partition("#")
        found = (ROOT / page).parent.joinpath(file) if file else ROOT / page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found.read_text(encoding="utf-8")), target


def test_the_page_on_embedding_names_every_header() -> None:
    text = text_of("docs/embedding.md")
    table = text[text.index("| subject | include |") : text.index("Host code of the rasteriser")]
    headers = sorted(path.name for path in (Path(gptface.get_include()) / "gptface").iterdir())
    assert sorted(re.findall(r"`(\w+\.(?:h|cuh))`", table)) == headers
