"""Refuses a release whose tag, package and changelog do not name the same version.

    python -m release.check_tag v0.1.0      # as the release workflow calls it
    python -m release.check_tag             # before a tag is set: package and changelog alone

Four places must agree: the tag, ``project.version`` in ``pyproject.toml``, ``gptface.__version__`` (read, not imported,
so that nothing needs to be installed), and the first heading of ``CHANGELOG.md``, which must bear a date:
``## 0.1.0 (2026-12-24)``.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["disagreements", "main"]

ROOT = Path(__file__).resolve().parents[1]
# Final and pre-releases, in the spelling that PEP 440 calls normal. No local versions: PyPI takes none.
VERSION = re.compile(r"\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?(?:\.post\d+)?")
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def _found(path: Path, pattern: str) -> str | None:
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else None


def _dated(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text)) and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


def disagreements(root: Path, tag: str | None = None) -> list[str]:
    """Why no release may be made of the checkout ``root`` under ``tag``, a sentence each; none where all agree."""
    problems = []
    declared = _found(root / "pyproject.toml", r'^version = "([^"]+)"$')
    said = _found(root / "gptface" / "__init__.py", r'^__version__ = "([^"]+)"$')
    if declared is None or not VERSION.fullmatch(declared):
        problems.append(f"pyproject.toml says version {declared!r}; allowed: a version such as 0.1.0 or 0.2.0rc1")
    if said != declared:
        problems.append(f"gptface/__init__.py says version {said!r}, pyproject.toml {declared!r}")
    if tag is not None and tag != f"v{declared}":
        problems.append(f"the tag is {tag!r}, but the package's version asks for 'v{declared}'")
    heading = HEADING.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    words = heading[1].strip() if heading else ""
    entry = re.fullmatch(r"(\S+) \((.+)\)", words)
    if entry is None or entry[1] != declared:
        problems.append(f"CHANGELOG.md begins with {words!r}, not with '## {declared} (YYYY-MM-DD)'")
    elif not _dated(entry[2]):
        problems.append(f"CHANGELOG.md says {declared} ({entry[2]}): a release has a date, YYYY-MM-DD")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m release.check_tag", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tag", nargs="?", help="such as v0.1.0 (default: only what stands in the checkout)")
    given = parser.parse_args(arguments)
    problems = disagreements(ROOT, given.tag)
    for problem in problems:
        print(f"no release: {problem}", file=sys.stderr)
    if not problems:
        print(f"all agree{f' on {given.tag}' if given.tag else ''}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
