"""``gptface evaluate system`` over a tiny random system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptface.cli.main import main


def test_evaluate_command_measures(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "numbers.json"
    arguments = ["--system", str(folders["system"]), "--faces", str(folders["faces"]), "--count", "40"]
    assert main(["evaluate", "system", *arguments, "--output", str(output)]) == 0
    numbers = json.loads(output.read_text())
    assert 0 < numbers["codebook_usage"] <= 1
    assert "tokenizer psnr db" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--system", "nowhere"], "there is no such folder"),
        (["--system", "SYSTEM", "--faces", "absent-*.tar"], "absent"),
        (["--system", "SYSTEM", "--count", "1"], "at least 2"),
        (["--system", "SYSTEM", "--count", "2", "--group", "person"], "no face has a field 'person'"),
    ],
)
def test_bad_input_to_evaluate_is_one_sentence_and_nothing_written(
    folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    names = {"SYSTEM": str(folders["system"]), "FACES": str(folders["faces"])}
    output = tmp_path / "numbers.json"
    assert main(["evaluate", "system", *(names.get(word, word) for word in arguments), "--output", str(output)]) == 2
    *reading, error = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("gptface: error: ") and sentence in error
    assert all(line.startswith("faces: ") for line in reading)  # what was read before the fault was found
    assert not output.exists()
