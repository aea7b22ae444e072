"""``gptface evaluate regions``: rows and JSON, and one sentence for what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gptface.systems
from gptface.cli.main import main
from gptface.evaluation import probe, procedural_probes
from gptface.faces.attributes import LABELLED_ATTRIBUTES
from tests.helpers.tiny_encoder import TinyEncoder


def test_a_line_a_row_and_the_same_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gptface.systems, "open_encoder", lambda folder: TinyEncoder())
    monkeypatch.setattr(gptface.systems, "random_encoder", lambda folder, seed: TinyEncoder(seed=seed + 1))
    monkeypatch.setattr(procedural_probes, "LABELLED_ATTRIBUTES", LABELLED_ATTRIBUTES[:2])
    monkeypatch.setattr(probe, "PENALTIES", (1e-2, 1e-3))
    output = tmp_path / "out.json"
    command = ["evaluate", "regions", "--encoder", "somewhere", "--faces", "50", "--test-faces", "10"]
    assert main([*command, "--output", str(output)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert printed.err.splitlines()[-1] == f"written: {output}"
    assert [line.split(" [")[0].rsplit(" ", 1)[0] for line in lines[:3]] == [
        "encoder, regions mean F1", "encoder, attributes mean accuracy", "encoder, expressions accuracy",
    ]  # fmt: skip
    assert len(lines) == 9 and lines[3].startswith("random weights, ") and lines[6].startswith("patch pixels, ")
    found = json.loads(output.read_text())
    assert found["encoder"] == "somewhere" and len(found["rows"]) == 9 and found["test_faces"] == 10


@pytest.mark.parametrize(
    ("more", "sentence"),
    [(["--faces", "3"], "at least 50"), ([], "there is no such folder"), (["--device", "abacus"], "abacus")],
)
def test_bad_input_is_one_sentence_and_nothing_written(
    more: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if more:
        monkeypatch.setattr(gptface.systems, "open_encoder", lambda folder: TinyEncoder())
        monkeypatch.setattr(gptface.systems, "random_encoder", lambda folder, seed: TinyEncoder())
    output = tmp_path / "out.json"
    assert main(["evaluate", "regions", "--encoder", "nowhere", *more, "--output", str(output)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("gptface: error: ") and sentence in error
    assert not output.exists()
