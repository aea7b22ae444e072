"""README.md: every Python snippet runs as it stands, and every file it points to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gptface.systems.gptface.stages import PRETRAIN, TOKENIZER
from gptface.training.run import run_stage
from tests.helpers.tiny_runs import tiny

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
NEEDS_THE_DEMO = "runs/demo/system"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo has been run, by a system that has learnt next to nothing."""
    folder = tmp_path_factory.mktemp("demo")
    sizes = ["data.image_size=64", "data.count=32", "data.validation_count=0", "tokenizer.model={stem_stride: 8}"]
    configuration = tiny(folder / "cache", *sizes, "tokenizer.steps=1", "pretrain.steps=1", "pretrain.batch_size=4")
    tokenizer = run_stage(TOKENIZER, configuration, folder / "tokenizer", verbose=False)
    run_stage(PRETRAIN, configuration, folder / NEEDS_THE_DEMO, tokenizer=tokenizer, verbose=False)
    return folder


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 2
    assert any(NEEDS_THE_DEMO in snippet for snippet in SNIPPETS)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet_runs_as_it_stands(number: int, demo: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SNIPPETS[number]], cwd=demo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links_and_pictures_are_there() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing


def test_every_command_is_in_the_table_and_no_other() -> None:
    from gptface.cli.main import COMMANDS

    rows = re.findall(r"^\| (`gptface .*?) \|", README, re.MULTILINE)
    named = {word.removeprefix("gptface ").split()[0] for row in rows for word in re.findall(r"`([^`]+)`", row)}
    assert named == set(COMMANDS)
