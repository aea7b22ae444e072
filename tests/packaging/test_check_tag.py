"""A release is refused unless tag, package and changelog name one version."""

from __future__ import annotations

from pathlib import Path

import pytest

import gptface
from release import check_tag

ROOT = Path(__file__).resolve().parents[2]


def checkout(folder: Path, declared: str, said: str, heading: str) -> Path:
    (folder / "gptface").mkdir()
    (folder / "pyproject.toml").write_text(f'[project]\nname = "gptface"\nversion = "{declared}"\n')
    (folder / "gptface" / "__init__.py").write_text(f'"""It."""\n\n__version__ = "{said}"\n')
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n\n- It.\n\n## 0.0.1 (2025-01-01)\n")
    return folder


def test_versions_of_this_checkout_agree() -> None:
    """All but the date, which stands there from the release on."""
    problems = check_tag.disagreements(ROOT, f"v{gptface.__version__}")
    assert all("a release has a date" in problem for problem in problems), problems


@pytest.mark.parametrize("version", ["0.1.0", "1.2", "0.2.0rc1", "1.0.post1"])
def test_one_version_everywhere_is_released(tmp_path: Path, version: str) -> None:
    root = checkout(tmp_path, version, version, f"{version} (2026-12-24)")
    assert check_tag.disagreements(root, f"v{version}") == []
    assert check_tag.disagreements(root) == []


@pytest.mark.parametrize(
    ("declared", "said", "heading", "tag", "words"),
    [
        ("0.1.0", "0.1.0", "0.1.0 (2026-12-24)", "v0.1.1", "the tag is 'v0.1.1'"),
        ("0.1.0", "0.1.0", "0.1.0 (2026-12-24)", "0.1.0", "asks for 'v0.1.0'"),
        ("0.1.0", "0.1.0", "0.1.0 (2026-12-24)", "refs/tags/v0.1.0", "the tag is"),
        ("0.1.0", "0.1.1", "0.1.0 (2026-12-24)", "v0.1.0", "gptface/__init__.py says version '0.1.1'"),
        ("0.1.0", "0.1.0", "0.1.0 (unreleased)", "v0.1.0", "a release has a date"),
        ("0.1.0", "0.1.0", "0.1.0 (2026-13-24)", "v0.1.0", "a release has a date"),
        ("0.1.0", "0.1.0", "0.1.0", "v0.1.0", "CHANGELOG.md begins with '0.1.0'"),
        ("0.2.0", "0.2.0", "0.1.0 (2026-12-24)", "v0.2.0", "CHANGELOG.md begins with"),
        ("0.1.0+cpu", "0.1.0+cpu", "0.1.0+cpu (2026-12-24)", "v0.1.0+cpu", "allowed: a version such as"),
    ],
)
def test_disagreement_is_refused(
    tmp_path: Path, declared: str, said: str, heading: str, tag: str, words: str
) -> None:
    problems = check_tag.disagreements(checkout(tmp_path, declared, said, heading), tag)
    assert len(problems) == 1 and words in problems[0], problems


def test_exit_code_and_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_tag, "ROOT", checkout(tmp_path, "0.1.0", "0.1.0", "0.1.0 (2026-12-24)"))
    assert check_tag.main(["v0.1.0"]) == 0
    assert check_tag.main(["v0.2.0"]) == 1
    assert capsys.readouterr().err == "no release: the tag is 'v0.2.0', but the package's version asks for 'v0.1.0'\n"
