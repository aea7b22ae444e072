"""The site's builder: what it makes of pages and docstrings, and what it finds wrong with a finished site."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from docsite.checks import dead_links, outside_requests
from docsite.markdown import plain
from docsite.notebooks import NOTEBOOKS
from docsite.reference import REFERENCE, public_names, reference_page
from docsite.staging import CONFIGURATION, Pages, linked_names, unlisted
from tests.docs.pages import ROOT, pages


def test_every_page_is_in_the_navigation_and_no_other() -> None:
    places = [page.removeprefix("docs/") for page in pages()] + [f"notebooks/{name}.md" for name in NOTEBOOKS]
    assert unlisted(places) == [] and unlisted(["of-nowhere.md"]) == ["of-nowhere.md"]
    text = CONFIGURATION.read_text(encoding="utf-8")
    named = {line.split('"')[3] for line in text.splitlines() if '.md" }' in line}
    assert named == set(places)


def test_links_out_of_docs_lead_to_pages_of_what_is_there() -> None:
    found = Pages()
    found.add_document(ROOT / "docs/embedding.md")
    text = found.pages["embedding.md"]
    assert "](source/examples/masked_token_loss.py.md)" in text and "../examples" not in text
    assert "import" in found.pages["source/examples/masked_token_loss.py.md"]
    assert "```python needs=" not in text  # what is said to tests is not shown


def test_links_to_what_pages_are_made_of_lead_to_the_pages() -> None:
    found = Pages()
    for page in ("start.md", "index.md"):
        found.add_document(ROOT / "docs" / page)
    assert "](notebooks/edit_a_face.md)" in found.pages["start.md"]
    assert "](commands/index.md)" in found.pages["index.md"]
    assert not [place for place in found.pages if "gptface/cli" in place or "notebooks" in place]


def test_the_first_mention_of_a_command_or_an_operator_is_a_link() -> None:
    prose = "`vq_lookup`, `vq_lookup`, [`gather_rows`](a.md), `gptface edit --seed 1`"
    text = f"# `vq_lookup`\n\n{prose}\n\n```\n`Fixed`\n```\n"
    linked = linked_names(text, "operators/page.md")
    assert linked.count("[`vq_lookup`][gptface.ops.vq_lookup]") == 1
    assert "[`gather_rows`](a.md)" in linked and "[`gptface edit --seed 1`](../commands/edit.md)" in linked
    assert "\n`Fixed`\n" in linked and linked.startswith("# `vq_lookup`\n")


def test_docstrings_lose_the_roles_of_sphinx() -> None:
    text = "A :class:`~gptface.ops.IntervalMask` of ``(B, S)``; see :func:`gptface.ops.implementations`::\n\n    x"
    assert plain(text) == "A `IntervalMask` of `(B, S)`; see `gptface.ops.implementations`:\n\n    x"


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.title)
def test_the_reference_has_the_public_names_of_modules_that_are_there(page: object) -> None:
    text = reference_page(page)  # type: ignore[arg-type]
    for module in page.modules:  # type: ignore[attr-defined]
        if module == "gptface.integrations.lightning_callback":
            continue  # imports lightning
        names = [name for name in public_names(module) if not name.startswith("__")]
        assert all(hasattr(importlib.import_module(module), name) for name in names)
        assert f"::: {module}\n" in text and all(f"- {name}\n" in text for name in names)


def test_dead_links_and_requests_are_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<h1 id="top"></h1><a href="other.html#here">a</a><a href="#top">b</a>')
    (tmp_path / "other.html").write_text('<p id="here"></p><a href="https://example.org">c</a><img src="data:x">')
    assert dead_links(tmp_path) == [] and outside_requests(tmp_path) == []
    (tmp_path / "other.html").write_text(
        '<a href="index.html#none">a</a><a href="none.html">b</a><script src="https://example.org/x.js"></script>'
    )
    (tmp_path / "a.css").write_text("@import 'https://example.org/b.css'; a { background: url(//example.org/c.png) }")
    dead = dead_links(tmp_path)
    assert len(dead) == 3 and sum("heading" in sentence for sentence in dead) == 2
    assert len(outside_requests(tmp_path)) == 3


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_without_a_network(name: str, tmp_path: Path) -> None:
    """As a program; `make docs` runs the same cells in a kernel and keeps what they print and draw."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HUB_OFFLINE": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, str(ROOT / f"docs/notebooks/{name}.py")],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout and "False" not in done.stdout  # what a notebook shows to hold, holds
